"""Splits labelled images and writes them as TFRecord files: all of them, or nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas_trainer.data.annotated import (
    OBJECT_LABEL_FIELD,
    XMAX_FIELD,
    XMIN_FIELD,
    YMAX_FIELD,
    YMIN_FIELD,
    AnnotatedImage,
)
from nas_trainer.data.files import DataError
from nas_trainer.data.records import HEIGHT_FIELD, IMAGE_FIELD, LABEL_FIELD, WIDTH_FIELD
from nas_trainer.data.sources import ImageSource
from nas_trainer.data.tfrecord import FeatureValue, encode_example, write_record

TRAIN = "train"
VALIDATION = "validation"
LABELS_FILE = "labels.txt"
DATASET_FILE = "dataset.json"


@dataclass(frozen=True)
class Split:
    """Indices of the images of each part, shuffled."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """What `write_dataset` wrote; `bytes` counts the TFRecord files."""

    directory: Path
    train_images: int
    validation_images: int
    bytes: int

    @property
    def train_pattern(self) -> str:
        return str(self.directory / f"{TRAIN}-*.tfrecord")

    @property
    def validation_pattern(self) -> str:
        return str(self.directory / f"{VALIDATION}-*.tfrecord")


def split_by_class(labels: Sequence[int], *, validation_fraction: float, seed: int) -> Split:
    """Draws `validation_fraction` of every class, rounded, but at least one and never all.

    Args:
      labels: label of every image.
      validation_fraction: between 0 and 1, both excluded.
      seed: the same seed and labels give the same split.
    Raises:
      ValueError: if a class has fewer than two images.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        by_class[label].append(index)
    generator = random.Random(seed)
    train: list[int] = []
    validation: list[int] = []
    for label in sorted(by_class):
        indices = by_class[label]
        if len(indices) < 2:
            raise ValueError(f"class {label} has {len(indices)} image, expected 2 or more")
        generator.shuffle(indices)
        count = min(max(1, round(len(indices) * validation_fraction)), len(indices) - 1)
        validation += indices[:count]
        train += indices[count:]
    generator.shuffle(train)
    generator.shuffle(validation)
    return Split(tuple(train), tuple(validation))


def write_dataset(
    source: ImageSource,
    split: Split,
    output_dir: Path,
    *,
    num_shards: int,
    overwrite: bool = False,
    on_image: Callable[[str], None] = lambda part: None,
) -> Dataset:
    """Writes `train-*.tfrecord`, `validation-*.tfrecord`, `labels.txt` and `dataset.json`.

    The files are written to a temporary folder inside `output_dir` and renamed when all are
    whole; whatever goes wrong before that leaves `output_dir` as it was. `dataset.json` is renamed
    last: where it stands, the data set is whole.

    Args:
      source: the images.
      split: which of them go where.
      output_dir: made if missing.
      num_shards: files per part.
      overwrite: replace a data set that is already there, with all its files.
      on_image: called with the part's name after each image.
    Raises:
      DataError: if an image is damaged, or a data set is already there.
      OSError: if `output_dir` cannot be written.
    """
    existing = existing_files(output_dir)
    if existing and not overwrite:
        raise DataError(
            f"--output_dir: {output_dir} already holds {existing[0].name}, expected no data set "
            f"there; replace it with --overwrite"
        )
    with _temporary_dir_in(output_dir) as temporary:
        parts = {TRAIN: split.train, VALIDATION: split.validation}
        written = 0
        counts: dict[str, Counter[int]] = {part: Counter() for part in parts}
        for part, indices in parts.items():
            for shard in range(num_shards):
                path = temporary / f"{part}-{shard:05d}-of-{num_shards:05d}.tfrecord"
                with path.open("wb") as file:
                    for index in indices[shard::num_shards]:
                        record, labels = _encode_record(source, index)
                        written += write_record(file, record)
                        counts[part].update(labels)
                        on_image(part)
                    file.flush()
                    os.fsync(file.fileno())
        names = "".join(f"{name}\n" for name in source.class_names)
        (temporary / LABELS_FILE).write_text(names, encoding="utf-8")
        description = _describe(source, split, num_shards, counts)
        (temporary / DATASET_FILE).write_text(description, encoding="utf-8")
        _publish(temporary, output_dir, existing)
    return Dataset(output_dir, len(split.train), len(split.validation), written)


def existing_files(output_dir: Path) -> list[Path]:
    """Files of a data set in `output_dir`, `dataset.json` first."""
    patterns = (DATASET_FILE, LABELS_FILE, f"{TRAIN}-*.tfrecord", f"{VALIDATION}-*.tfrecord")
    return [path for pattern in patterns for path in sorted(output_dir.glob(pattern))]


def _encode_record(source: ImageSource, index: int) -> tuple[bytes, Sequence[int]]:
    """The record of an image, and the labels in it."""
    image = source.read(index)
    features: dict[str, FeatureValue] = {
        IMAGE_FIELD: image.data,
        HEIGHT_FIELD: image.height,
        WIDTH_FIELD: image.width,
    }
    if isinstance(image, AnnotatedImage):
        labels: Sequence[int] = image.labels
        features |= {
            XMIN_FIELD: [box.xmin for box in image.boxes],
            XMAX_FIELD: [box.xmax for box in image.boxes],
            YMIN_FIELD: [box.ymin for box in image.boxes],
            YMAX_FIELD: [box.ymax for box in image.boxes],
            OBJECT_LABEL_FIELD: list(labels),
        }
    else:
        labels = [source.labels[index]]
        features[LABEL_FIELD] = labels[0]
    return encode_example(features), labels


def _describe(source: ImageSource, split: Split, num_shards: int, counts: Mapping[str, Counter[int]]) -> str:
    classes = [
        {"name": name, "label": label, TRAIN: counts[TRAIN][label], VALIDATION: counts[VALIDATION][label]}
        for label, name in enumerate(source.class_names, source.first_label)
    ]
    description = {
        "source": source.description,
        # Where labels start at 1, 0 is the background, a class that the model has, too.
        "num_classes": len(classes) + source.first_label,
        "train_images": len(split.train),
        "validation_images": len(split.validation),
        "shards_per_part": num_shards,
        "classes": classes,
    }
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def _publish(temporary: Path, output_dir: Path, replaced: Sequence[Path]) -> None:
    """Renames the files of `temporary` into `output_dir`, in place of those of an older data set."""
    new_names = sorted(path.name for path in temporary.iterdir())
    (output_dir / DATASET_FILE).unlink(missing_ok=True)
    for name in new_names:
        if name != DATASET_FILE:
            (temporary / name).replace(output_dir / name)
    for path in replaced:
        if path.name not in new_names:
            path.unlink()
    (temporary / DATASET_FILE).replace(output_dir / DATASET_FILE)


@contextmanager
def _temporary_dir_in(directory: Path) -> Iterator[Path]:
    """A folder inside `directory` that is gone afterwards, like any folder made to hold it."""
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    temporary: str | None = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".prepare_data-", dir=directory)
        yield Path(temporary)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in made:
            try:
                path.rmdir()
            except OSError:  # It holds the data set now, or was never made.
                break
