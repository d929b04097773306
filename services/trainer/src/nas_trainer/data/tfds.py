"""Classification sets of TensorFlow Datasets that lie on this machine."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nas_trainer.data.files import DataError
from nas_trainer.data.sources import EncodedImage, prepare


@dataclass(frozen=True)
class TfdsImages:
    """All images of the training split, which is split anew into training and validation."""

    description: str
    class_names: tuple[str, ...]
    labels: tuple[int, ...]
    images: tuple[bytes, ...]
    first_label: int = 0

    def read(self, index: int) -> EncodedImage:
        return prepare(self.images[index], None)


def read_tfds(name: str, data_dir: str | None) -> TfdsImages:
    """Reads a set that `tfds build` or an earlier download has left; nothing is downloaded.

    Raises:
      DataError: there is no such set, it is not on this machine, or it is none of classification.
    """
    # Imports TensorFlow: for who asks for it.
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # Of its own classes, and of the builder's.
        raise DataError(f"--tfds_name: found no data set {name!r}: {str(error).splitlines()[0]}") from error
    features = dict(builder.info.features or {})
    label = features.get("label")
    if not isinstance(label, tfds.features.ClassLabel) or "image" not in features:
        raise DataError(f"--tfds_name: {name} has no image and label, expected a set of image classification")
    try:
        examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    except (AssertionError, ValueError, OSError) as error:
        raise DataError(
            f"--tfds_name: {name} is not in {builder.data_dir}; download it where there is a network "
            f"(python -m tensorflow_datasets build {name}), or name its place with --tfds_data_dir"
        ) from error
    return TfdsImages(
        f"TFDS {name}",
        tuple(label.names),
        tuple(int(example["label"]) for example in examples),
        tuple(_png(example["image"]) for example in examples),
    )


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
