"""Checks training data before anything trains on it.

The Model Garden's input pipeline would find most of these defects too, but minutes later, on a
random record, and in words about tensors; a missing label it even replaces by -1 without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from nas_trainer.data.annotated import BOX_FIELDS, OBJECT_LABEL_FIELD, BoxError, check_objects
from nas_trainer.data.files import DataError, file_version, match_files, open_file, os_errors
from nas_trainer.data.images import ImageError, check_image
from nas_trainer.data.tfrecord import RecordError, example_class, read_records

__all__ = ["DataError", "RecordsSummary", "check_records"]

IMAGE_FIELD = "image/encoded"
HEIGHT_FIELD = "image/height"
WIDTH_FIELD = "image/width"
LABEL_FIELD = "image/class/label"

_TYPE_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


@dataclass(frozen=True)
class RecordsSummary:
    """What `check_records` saw.

    Attributes:
      files: matched files in the order they are read, none twice.
      records: records checked; all of them unless a limit was given.
      decoded_images: images whose every pixel was decoded; of the others the header was read.
      classes_seen: labels that occur among the checked records.
    """

    files: tuple[str, ...]
    records: int
    decoded_images: int
    classes_seen: frozenset[int]


def check_records(
    pattern: str,
    *,
    num_classes: int,
    flag: str,
    limit: int | None = None,
    decode_limit: int = 2000,
    has_boxes: bool = False,
) -> RecordsSummary:
    """Checks TFRecord files of images with a class each, or with boxes.

    A file that has not changed since this process checked it is not read again, so the second
    trial of a warm worker pays for a look at the directory only.

    Args:
      pattern: files and globs, separated by commas, as the Model Garden takes them.
      num_classes: labels must lie in 0..num_classes - 1; those of boxes above 0, the background.
      flag: where the pattern came from, for messages: `training_data_path`.
      limit: records to check per file; None checks them all.
      decode_limit: images to decode completely, spread evenly over the files, from the start of
        each. A 32x32 image takes 0.1 ms, a photograph of 500x400 about 2 ms.
      has_boxes: whether the records are of detection: boxes and their labels instead of one label.
    Raises:
      DataError: at the first defect.
    """
    if num_classes < 1:
        raise DataError(f"num_classes: found {num_classes}, expected 1 or more")
    files = match_files(pattern, flag=flag)
    decode_per_file = -(-decode_limit // len(files))
    records = decoded = 0
    classes_seen: set[int] = set()
    for path in files:
        try:
            with os_errors(path):
                version = file_version(path)
                found = _check_file(path, version, num_classes, limit, decode_per_file, has_boxes)
        except RecordError as error:
            raise DataError(f"{flag}: {path}, record {error.record} (counted from 0): {error}") from error
        except FieldError as error:
            raise DataError(
                f"{flag}: {path}, record {error.record} (counted from 0), field {error.field}: {error}"
            ) from error
        except OSError as error:
            raise DataError(f"{flag}: {path} cannot be read: {error.strerror or error}") from error
        records += found.records
        decoded += found.decoded_images
        classes_seen |= found.classes_seen
    if not records:
        raise DataError(f"{flag}: found no record in {_name_files(files)}, expected at least one")
    if has_boxes and not classes_seen:
        raise DataError(f"{flag}: found no box in {records} records of {_name_files(files)}, expected some")
    return RecordsSummary(files, records, decoded, frozenset(classes_seen))


@dataclass(frozen=True)
class _FileSummary:
    records: int
    decoded_images: int
    classes_seen: frozenset[int]


class FieldError(Exception):
    """A field of a record is missing or wrong."""

    def __init__(self, record: int, field: str, message: str) -> None:
        super().__init__(message)
        self.record = record
        self.field = field


# `version` is an argument so that a changed file is checked again; an error is not remembered.
# 4096 files are more than one job names.
@lru_cache(maxsize=4096)
def _check_file(
    path: str,
    version: tuple[int, int],
    num_classes: int,
    limit: int | None,
    decode_limit: int,
    has_boxes: bool,
) -> _FileSummary:
    example_type = example_class()
    classes_seen: set[int] = set()
    count = 0
    with open_file(path) as file:
        for number, data in enumerate(read_records(file)):
            if limit is not None and number >= limit:
                break
            try:
                features = example_type.FromString(data).features.feature
            except DecodeError as error:
                raise RecordError(number, "is no tf.train.Example") from error
            classes_seen.update(
                check_record(features, number, num_classes, decode=number < decode_limit, has_boxes=has_boxes)
            )
            count = number + 1
    return _FileSummary(count, min(count, decode_limit), frozenset(classes_seen))


def check_record(
    features: Any, record: int, num_classes: int, *, decode: bool, has_boxes: bool
) -> Sequence[int]:
    """Checks the features of one record.

    Args:
      record: its number in the file, for messages.
      decode: also decode every pixel of the image.
    Returns:
      Its label, or those of its boxes.
    Raises:
      FieldError: at the first defect.
    """
    _check_image(features, record, decode=decode)
    if has_boxes:
        return _check_boxes(features, record, num_classes)
    return [_check_label(features, record, num_classes)]


def _check_image(features: Any, record: int, *, decode: bool) -> None:
    image = _single_value(features, record, IMAGE_FIELD, "bytes_list")
    try:
        check_image(image, decode=decode)
    except ImageError as error:
        raise FieldError(record, IMAGE_FIELD, str(error)) from error
    for field in (HEIGHT_FIELD, WIDTH_FIELD):
        pixels = _single_value(features, record, field, "int64_list")
        if pixels < 1:
            raise FieldError(record, field, f"found {pixels}, expected 1 or more pixels")


def _check_label(features: Any, record: int, num_classes: int) -> int:
    """The label of a record of classification."""
    label: int = _single_value(features, record, LABEL_FIELD, "int64_list")
    if not 0 <= label < num_classes:
        expected = f"expected a class from 0 to {num_classes - 1} ({num_classes} classes)"
        raise FieldError(record, LABEL_FIELD, f"found {label}, {expected}")
    return label


def _check_boxes(features: Any, record: int, num_classes: int) -> Sequence[int]:
    """The labels of a record of detection; there may be none."""
    xmin, xmax, ymin, ymax = (_values(features, record, field, "float_list") for field in BOX_FIELDS)
    labels = _values(features, record, OBJECT_LABEL_FIELD, "int64_list")
    try:
        check_objects(xmin, xmax, ymin, ymax, labels, num_classes)
    except BoxError as error:
        raise FieldError(record, error.field, str(error)) from error
    return labels


def _values(features: Any, record: int, field: str, kind: str) -> Sequence[Any]:
    """All values of a field, which must be of the list type `kind` unless it is empty."""
    expected = f"expected {_TYPE_NAMES[kind]} values"
    if field not in features:
        present = ", ".join(sorted(features)) or "none"
        raise FieldError(record, field, f"is missing, {expected}; the record has {present}")
    found_kind = features[field].WhichOneof("kind")
    if found_kind is None:
        return ()
    values: Sequence[Any] = getattr(features[field], found_kind).value
    if values and found_kind != kind:
        found = f"found {len(values)} {_TYPE_NAMES[found_kind]} value(s)"
        raise FieldError(record, field, f"{found}, {expected}")
    return values


def _single_value(features: Any, record: int, field: str, kind: str) -> Any:
    """The one value of a field, which must be of the list type `kind`."""
    expected = f"expected one {_TYPE_NAMES[kind]} value"
    if field not in features:  # Indexing a missing key would add it.
        present = ", ".join(sorted(features)) or "none"
        raise FieldError(record, field, f"is missing, {expected}; the record has {present}")
    feature = features[field]
    found_kind = feature.WhichOneof("kind")
    if found_kind is None:
        raise FieldError(record, field, f"is empty, {expected}")
    values = getattr(feature, found_kind).value
    if found_kind != kind:
        found = f"found {len(values)} {_TYPE_NAMES[found_kind]} value(s)"
        raise FieldError(record, field, f"{found}, {expected}")
    if not values:
        raise FieldError(record, field, f"is empty, {expected}")
    if len(values) > 1:
        raise FieldError(record, field, f"found {len(values)} values, {expected}")
    return values[0]


def _name_files(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
