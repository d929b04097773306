"""TFRecord files and examples, against TensorFlow's own reader and writer."""

import io
import itertools
from pathlib import Path

import pytest

from nas_trainer.data.tfrecord import (
    RecordError,
    encode_example,
    example_class,
    read_records,
    write_record,
)

AWKWARD_RECORDS = [b"", b"\x00", b"one", bytes(range(256)) * 300]


def _file_of(records: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    sizes = [write_record(buffer, record) for record in records]
    assert sum(sizes) == len(buffer.getvalue())
    return buffer.getvalue()


def test_records_read_back_as_written() -> None:
    assert list(read_records(io.BytesIO(_file_of(AWKWARD_RECORDS)))) == AWKWARD_RECORDS


def test_tensorflow_reads_what_is_written_here(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    path = tmp_path / "ours.tfrecord"
    path.write_bytes(_file_of(AWKWARD_RECORDS))
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert found == AWKWARD_RECORDS


def test_records_that_tensorflow_wrote_are_read_here(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    path = tmp_path / "theirs.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in AWKWARD_RECORDS:
            writer.write(record)
    assert path.read_bytes() == _file_of(AWKWARD_RECORDS)
    with path.open("rb") as file:
        assert list(read_records(file)) == AWKWARD_RECORDS


def test_tensorflow_parses_an_example_of_every_type() -> None:
    tf = pytest.importorskip("tensorflow")
    encoded = encode_example({"größe": -3, "bytes": b"\xff\x00", "ratio": 0.5, "zero": 0})
    parsed = tf.io.parse_single_example(
        encoded,
        {
            "größe": tf.io.FixedLenFeature((), tf.int64),
            "bytes": tf.io.FixedLenFeature((), tf.string),
            "ratio": tf.io.FixedLenFeature((), tf.float32),
            "zero": tf.io.FixedLenFeature((), tf.int64),
        },
    )
    assert {name: value.numpy() for name, value in parsed.items()} == {
        "größe": -3,
        "bytes": b"\xff\x00",
        "ratio": 0.5,
        "zero": 0,
    }
    # Both declarations of the message live in this process side by side.
    theirs = tf.train.Example.FromString(encoded)
    ours = example_class().FromString(theirs.SerializeToString())
    assert ours.features.feature["größe"].int64_list.value[:] == [-3]


def test_order_of_features_does_not_change_the_bytes() -> None:
    features = {"b": 1, "a": b"x", "c": 2.0}
    encoded = {encode_example(dict(items)) for items in itertools.permutations(features.items())}
    assert len(encoded) == 1


def test_every_way_to_cut_a_file_off_is_an_error_at_the_record_that_is_cut() -> None:
    first = _file_of([b"first"])
    whole = _file_of([b"first", b"second"])
    for end in range(len(first) + 1, len(whole)):
        records = read_records(io.BytesIO(whole[:end]))
        assert next(records) == b"first"
        with pytest.raises(RecordError, match=r"is cut off: found \d+ of the \d+ bytes") as caught:
            next(records)
        assert caught.value.record == 1


def test_every_flipped_bit_is_found() -> None:
    whole = _file_of([b"first", b"second"])
    for byte in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[byte] ^= 1 << bit
            with pytest.raises(RecordError):
                list(read_records(io.BytesIO(bytes(damaged))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,label\n1.png,3\n", "is no TFRecord file"),
        (b"short", "is no TFRecord file: found 5 bytes, expected at least 12"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "found a gzip file, expected an uncompressed"),
    ],
)
def test_file_of_another_kind_is_named_as_such(content: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        list(read_records(io.BytesIO(content)))
    assert caught.value.record == 0
