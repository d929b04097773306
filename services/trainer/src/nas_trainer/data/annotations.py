"""Images with boxes from where people have them: COCO's JSON, Pascal VOC's XML, or a parser of their own."""

from __future__ import annotations

import importlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nas_trainer.data.annotated import AnnotatedImage, Box
from nas_trainer.data.files import DataError
from nas_trainer.data.images import ImageError
from nas_trainer.data.sources import prepare

# A box has to be this wide and high, in pixels, to be one.
_LEAST_PIXELS = 1.0


@dataclass(frozen=True)
class Record:
    """One image of a parser of the user's own (`--parser=module:function`).

    A parser is a function without arguments that gives an iterable of these.

    Attributes:
      image: path of an image file.
      boxes: `(xmin, ymin, xmax, ymax)` in pixels, one per object.
      classes: name of each object's class.
    """

    image: Path
    boxes: Sequence[tuple[float, float, float, float]]
    classes: Sequence[str]


@dataclass
class Annotations:
    """Images with boxes, and what was left out of them.

    Attributes:
      records: what to read, in pixels.
      class_names: in the order of their labels, which start at 1.
      left_out: how many boxes or images, by reason.
    """

    description: str
    records: list[Record]
    class_names: tuple[str, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    first_label: int = 1
    labels: tuple[int, ...] = ()

    def read(self, index: int) -> AnnotatedImage:
        """Reads image `index`; boxes are cut at its edges.

        Raises:
          DataError: it is damaged, or a box of it is none; names the file.
        """
        record = self.records[index]
        try:
            image = prepare(record.image.read_bytes(), None)
        except ImageError as error:
            raise DataError(f"{self.description}: {record.image}: {error}") from error
        except OSError as error:
            raise DataError(
                f"{self.description}: {record.image} cannot be read: {error.strerror or error}"
            ) from error
        boxes, labels = [], []
        for (left, top, right, bottom), name in zip(record.boxes, record.classes, strict=True):
            if not all(map(math.isfinite, (left, top, right, bottom))):
                raise DataError(
                    f"{self.description}: {record.image}: found a box {(left, top, right, bottom)}, "
                    "expected four finite numbers"
                )
            box = Box(
                max(left, 0.0) / image.width,
                max(top, 0.0) / image.height,
                min(right, image.width) / image.width,
                min(bottom, image.height) / image.height,
            )
            if (box.xmax - box.xmin) * image.width < _LEAST_PIXELS or (
                box.ymax - box.ymin
            ) * image.height < _LEAST_PIXELS:
                self.left_out["boxes less than a pixel wide or high within their image"] += 1
                continue
            boxes.append(box)
            labels.append(self.class_names.index(name) + self.first_label)
        return AnnotatedImage(image.data, image.height, image.width, tuple(boxes), tuple(labels))

    def split(self, validation_fraction: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Indices for training and for validation, at least one image each.

        Raises:
          DataError: there are fewer than two images.
        """
        if len(self.records) < 2:
            raise DataError(f"{self.description}: found {len(self.records)} images, expected 2 or more")
        order = list(range(len(self.records)))
        random.Random(seed).shuffle(order)
        count = min(max(1, round(len(order) * validation_fraction)), len(order) - 1)
        return tuple(order[count:]), tuple(order[:count])


def read_coco(annotations: Path, image_dir: Path, *, skip_missing_images: bool) -> Annotations:
    """COCO's `instances_….json`: classes in the order of their ids, without boxes of crowds.

    Raises:
      DataError: it is none, names categories or images it does not hold, or files that are not there.
    """
    flag = "--coco_annotations"
    try:
        content = json.loads(annotations.read_text("utf-8"))
        names = {
            int(c["id"]): str(c["name"]) for c in sorted(content["categories"], key=lambda c: int(c["id"]))
        }
        files = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        found: dict[int, list[tuple[int, list[float]]]] = {image_id: [] for image_id in files}
        left_out: Counter[str] = Counter()
        for number, annotation in enumerate(content["annotations"]):
            if annotation.get("iscrowd"):
                left_out["boxes of crowds"] += 1
                continue
            box = [float(side) for side in annotation["bbox"]]
            if annotation["category_id"] not in names or len(box) != 4:
                raise DataError(
                    f"{flag}: {annotations}, annotation {number} (counted from 0): found category "
                    f"{annotation['category_id']} and bbox {box}, expected a known category and "
                    "[x, y, width, height]"
                )
            found[int(annotation["image_id"])].append((int(annotation["category_id"]), box))
    except OSError as error:
        raise DataError(f"{flag}: {annotations} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{flag}: {annotations} is no COCO file of instances: {type(error).__name__}: {error}"
        ) from error
    missing = [name for name in files.values() if not (image_dir / name).is_file()]
    if missing and not skip_missing_images:
        raise DataError(
            f"--image_dir: {len(missing)} of {len(files)} images are not in {image_dir}, the first is "
            f"{missing[0]}; expected all of them, or --skip_missing_images=True"
        )
    left_out["images that are missing"] += len(missing)
    records = [
        Record(
            image_dir / files[image_id],
            [(x, y, x + width, y + height) for _, (x, y, width, height) in objects],
            [names[category] for category, _ in objects],
        )
        for image_id, objects in found.items()
        if files[image_id] not in set(missing)
    ]
    return Annotations(f"COCO annotations {annotations}", records, tuple(names.values()), +left_out)


def read_voc(directory: Path) -> Annotations:
    """A Pascal VOC folder: `Annotations/*.xml` and `JPEGImages/`; classes in the order of their names.

    VOC counts pixels from 1, and a box includes its last pixel.

    Raises:
      DataError: there is none, or a file of it is damaged; names it.
    """
    paths = sorted((directory / "Annotations").glob("*.xml"))
    if not paths:
        raise DataError(
            f"--voc_dir: found no Annotations/*.xml in {directory}, expected a folder of Pascal VOC"
        )
    records = []
    for path in paths:
        try:
            text = path.read_text("utf-8")
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise DataError(f"--voc_dir: {path} declares a document type, expected plain annotations")
            root = ElementTree.fromstring(text)
            image = directory / "JPEGImages" / _text(root, "filename")
            objects = root.findall("object")
            boxes = [
                (
                    float(_text(o, "bndbox/xmin")) - 1,
                    float(_text(o, "bndbox/ymin")) - 1,
                    float(_text(o, "bndbox/xmax")),
                    float(_text(o, "bndbox/ymax")),
                )
                for o in objects
            ]
            records.append(Record(image, boxes, [_text(o, "name") for o in objects]))
        except OSError as error:
            raise DataError(f"--voc_dir: {path} cannot be read: {error.strerror or error}") from error
        except (ElementTree.ParseError, ValueError) as error:
            raise DataError(f"--voc_dir: {path} is no annotation of Pascal VOC: {error}") from error
    return Annotations(f"Pascal VOC folder {directory}", records, _names(records))


def read_parsed(parser: str) -> Annotations:
    """The records of a function of the user's own, named `module:function`.

    Raises:
      DataError: there is no such function, it fails, or a record of it is none; says which.
    """
    flag = f"--parser={parser}"
    module, _, function = parser.partition(":")
    try:
        parse: Callable[[], Iterable[Any]] = getattr(importlib.import_module(module), function)
        records = list(parse())
    except Exception as error:  # The code is the user's: it may raise anything.
        raise DataError(f"{flag}: {type(error).__name__}: {error}; expected module:function") from error
    for number, record in enumerate(records):
        if not isinstance(record, Record):
            raise DataError(
                f"{flag}: record {number} is a {type(record).__name__}, expected a "
                "nas_trainer.data.annotations.Record"
            )
        if len(record.boxes) != len(record.classes):
            raise DataError(
                f"{flag}: record {number} ({record.image}): found {len(record.boxes)} boxes and "
                f"{len(record.classes)} classes, expected as many of both"
            )
    return Annotations(f"records of {parser}", records, _names(records))


def _names(records: Iterable[Record]) -> tuple[str, ...]:
    return tuple(sorted({name for record in records for name in record.classes}))


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None or not found.strip():
        raise ValueError(f"found no <{path}> in <{element.tag}>")
    return found.strip()
