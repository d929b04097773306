"""TFRecord files and the tf.train.Example inside, without TensorFlow.

TensorFlow has a reader and a writer of its own. This module exists beside them because starting
TensorFlow costs 6-20 s where preparing or checking the data costs one, because the command line
is installed without it, and because its reader answers a damaged file with a byte offset, not
with the record that is damaged. Checksums and message parsing come from libraries
(google-crc32c, protobuf); what is left is a frame of four fields:

    uint64 length | uint32 masked CRC of length | bytes | uint32 masked CRC of bytes

The tests read what is written here with tf.data, and read here what TensorFlow wrote.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size

# No record of images comes near this; a length above it means damage that happens to pass.
_MAX_RECORD_BYTES = 2**31 - 1

FeatureValue = bytes | int | float | Sequence[float]


class RecordError(Exception):
    """A TFRecord file is damaged, or is none. Reading it again will not help.

    Attributes:
        record: number of the damaged record, counted from 0.
    """

    def __init__(self, record: int, message: str) -> None:
        super().__init__(message)
        self.record = record


def write_record(file: BinaryIO, data: bytes) -> int:
    """Appends one record and returns the bytes it takes in the file."""
    length = _LENGTH.pack(len(data))
    file.write(length + _CHECKSUM.pack(_masked_checksum(length)))
    file.write(data)
    file.write(_CHECKSUM.pack(_masked_checksum(data)))
    return _HEADER_BYTES + len(data) + _CHECKSUM.size


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Yields the records of an open file, in order.

    Raises:
        RecordError: at the first record that is cut off or whose checksum does not fit.
    """
    record = 0
    while header := file.read(_HEADER_BYTES):
        if record == 0 and header.startswith(b"\x1f\x8b"):
            raise RecordError(0, "found a gzip file, expected an uncompressed TFRecord file")
        if len(header) < _HEADER_BYTES:
            raise RecordError(record, _cut_off(len(header), _HEADER_BYTES, "header", record))
        length_bytes = header[: _LENGTH.size]
        (length,) = _LENGTH.unpack(length_bytes)
        (checksum,) = _CHECKSUM.unpack(header[_LENGTH.size :])
        if checksum != _masked_checksum(length_bytes) or length > _MAX_RECORD_BYTES:
            if record == 0:
                raise RecordError(0, "is no TFRecord file: it does not start with a record")
            raise RecordError(record, "is corrupt: the checksum of its length does not fit")
        data = file.read(length)
        if len(data) < length:
            raise RecordError(record, _cut_off(len(data), length, "data", record))
        trailer = file.read(_CHECKSUM.size)
        if len(trailer) < _CHECKSUM.size:
            raise RecordError(record, _cut_off(len(trailer), _CHECKSUM.size, "checksum", record))
        if _CHECKSUM.unpack(trailer)[0] != _masked_checksum(data):
            raise RecordError(record, "is corrupt: the checksum of its data does not fit")
        yield data
        record += 1


def encode_example(features: Mapping[str, FeatureValue]) -> bytes:
    """Serialises one tf.train.Example; a feature holds one value, or a sequence of floats or of integers.

    The same features give the same bytes, whatever order they came in.
    """
    example = example_class()()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        elif all(isinstance(item, int) for item in value):
            feature.int64_list.value.extend(value)
        else:
            feature.float_list.value.extend(value)
    encoded: bytes = example.SerializeToString(deterministic=True)
    return encoded


@cache
def example_class() -> Any:
    """The class of tf.train.Example.

    It is declared in a pool of its own: TensorFlow registers the same names in the default pool
    when it is imported into this process, before or after.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_example_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _example_file() -> descriptor_pb2.FileDescriptorProto:
    """Descriptor of tensorflow/core/example/{feature,example}.proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="nas_trainer/example.proto", package="tensorflow", syntax="proto3"
    )
    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        values = file.message_type.add(name=name)
        values.field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)

    def add_message_field(
        message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str
    ) -> descriptor_pb2.FieldDescriptorProto:
        return message.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".tensorflow.{kind}",
            label=field.LABEL_OPTIONAL,
        )

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind_name) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        add_message_field(feature, name, number, kind_name).oneof_index = 0

    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    add_message_field(entry, "value", 2, "Feature")
    feature_map = add_message_field(features, "feature", 1, "Features.FeatureEntry")
    feature_map.label = field.LABEL_REPEATED

    example = file.message_type.add(name="Example")
    add_message_field(example, "features", 1, "Features")
    return file


def _masked_checksum(data: bytes) -> int:
    # Rotated and offset, because a CRC of data that holds its own CRC says little.
    checksum: int = google_crc32c.value(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _cut_off(found: int, expected: int, part: str, record: int) -> str:
    if record == 0 and part == "header":
        return f"is no TFRecord file: found {found} bytes, expected at least {expected}"
    return f"is cut off: found {found} of the {expected} bytes of its {part}"
