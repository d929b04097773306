"""Counts what is in TFRecord files, and collects what is wrong with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from nas_trainer.data.annotated import BOX_FIELDS, Box
from nas_trainer.data.files import match_files, open_file, os_errors
from nas_trainer.data.records import (
    HEIGHT_FIELD,
    IMAGE_FIELD,
    WIDTH_FIELD,
    FieldError,
    check_record,
)
from nas_trainer.data.tfrecord import RecordError, example_class, read_records

MAX_DEFECTS = 20
# Sides of the squares that COCO's evaluation divides objects by, in pixels.
_SMALL, _LARGE = 32, 96
_ANY_CLASS = 2**31


@dataclass(frozen=True)
class Sample:
    """An image to look at, with its labels, and with its boxes where it has some."""

    data: bytes
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]


@dataclass
class Survey:
    """What was found.

    Attributes:
      records: read, the bad ones too.
      heights, widths: smallest and largest, in pixels; of good records, as everything below.
      labels: images, or boxes, per label.
      class_names: names of labels, as far as `dataset.json` beside the files knows them.
      box_sizes: boxes by COCO's sizes.
      defects: the first `MAX_DEFECTS` bad records, a sentence each.
      num_defects: all of them.
      samples: the first good records.
    """

    files: tuple[str, ...]
    has_boxes: bool
    records: int = 0
    heights: tuple[int, int] = (0, 0)
    widths: tuple[int, int] = (0, 0)
    labels: dict[int, int] = field(default_factory=dict)
    class_names: dict[int, str] = field(default_factory=dict)
    boxes: int = 0
    images_without_box: int = 0
    box_sizes: dict[str, int] = field(default_factory=dict)
    defects: list[str] = field(default_factory=list)
    num_defects: int = 0
    samples: list[Sample] = field(default_factory=list)


def survey(pattern: str, *, has_boxes: bool, num_classes: int | None, num_samples: int) -> Survey:
    """Reads every record of TFRecord files.

    Args:
      pattern: files and globs, separated by commas.
      has_boxes: whether the records are of detection.
      num_classes: labels lie below it; None: as `dataset.json` beside the first file says, or anything.
      num_samples: good records to keep.
    Raises:
      DataError: no file matches.
    """
    files = match_files(pattern, flag="--data_path")
    dataset = _dataset(files[0])
    found = Survey(files, has_boxes, class_names=dataset.class_names)
    classes = num_classes or dataset.num_classes or _ANY_CLASS
    labels: Counter[int] = Counter()
    sizes = Counter({"small": 0, "medium": 0, "large": 0})
    heights: list[int] = []
    widths: list[int] = []
    for path in files:
        for features, number in _features(path, found):
            try:
                record = check_record(features, number, classes, decode=True, has_boxes=has_boxes)
            except FieldError as error:
                _note(found, f"{path}, record {number} (counted from 0), field {error.field}: {error}")
                continue
            height, width = (features[name].int64_list.value[0] for name in (HEIGHT_FIELD, WIDTH_FIELD))
            heights.append(height)
            widths.append(width)
            labels.update(record)
            boxes = _boxes(features) if has_boxes else ()
            found.boxes += len(boxes)
            found.images_without_box += has_boxes and not boxes
            sizes.update(_size(box, height, width) for box in boxes)
            if len(found.samples) < num_samples:
                data = features[IMAGE_FIELD].bytes_list.value[0]
                found.samples.append(Sample(data, tuple(record), boxes))
    if heights:
        found.heights, found.widths = (min(heights), max(heights)), (min(widths), max(widths))
    found.labels, found.box_sizes = dict(labels), dict(sizes) if has_boxes else {}
    if has_boxes and found.records > found.num_defects and not found.boxes:
        _note(found, f"found no box in {found.records} records, expected some")
    return found


def _features(path: str, found: Survey) -> Iterator[tuple[Any, int]]:
    """The features of every record that is one, with its number."""
    number = 0
    try:
        with os_errors(path), open_file(path) as file:
            for number, data in enumerate(read_records(file)):
                found.records += 1
                try:
                    yield example_class().FromString(data).features.feature, number
                except DecodeError:
                    _note(found, f"{path}, record {number} (counted from 0): is no tf.train.Example")
    except RecordError as error:
        # What follows in the file cannot be found any more.
        found.records += 1
        _note(found, f"{path}, record {error.record} (counted from 0): {error}; the rest was not read")
    except OSError as error:
        _note(found, f"{path} cannot be read: {error.strerror or error}")


def _note(found: Survey, defect: str) -> None:
    found.num_defects += 1
    if len(found.defects) < MAX_DEFECTS:
        found.defects.append(defect)


def _boxes(features: Any) -> tuple[Box, ...]:
    xmin, xmax, ymin, ymax = (features[name].float_list.value for name in BOX_FIELDS)
    return tuple(Box(*sides) for sides in zip(xmin, ymin, xmax, ymax, strict=True))


def _size(box: Box, height: int, width: int) -> str:
    area = (box.xmax - box.xmin) * width * (box.ymax - box.ymin) * height
    if area < _SMALL**2:
        return "small"
    return "medium" if area <= _LARGE**2 else "large"


@dataclass(frozen=True)
class _Dataset:
    num_classes: int | None
    class_names: dict[int, str]


def _dataset(file: str) -> _Dataset:
    """What `prepare_data` wrote about the set; nothing for a set of somebody else's."""
    try:
        content = json.loads(Path(file).with_name("dataset.json").read_text("utf-8"))
        names = {int(entry["label"]): str(entry["name"]) for entry in content["classes"]}
        return _Dataset(int(content["num_classes"]), names)
    except (OSError, ValueError, KeyError, TypeError):
        return _Dataset(None, {})
