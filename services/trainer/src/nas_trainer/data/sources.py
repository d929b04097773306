"""Where labelled images come from: scikit-learn's digits, or a folder of images per class."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image, ImageOps

from nas_trainer.data.annotated import AnnotatedImage
from nas_trainer.data.files import DataError
from nas_trainer.data.images import TRAINABLE_FORMATS, ImageError, load_image, open_image

# EXIF: the camera was turned by this much. TensorFlow's decoder ignores it.
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1

# Modes the decoder of the Model Garden turns into RGB by itself; CMYK and others it may refuse.
_TRAINABLE_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B")

DIGITS_SIZE = 32
_DIGITS_MAX = 16

# Read as an image. Whatever else lies in a class folder is skipped and named, hidden files are
# not even named.
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class EncodedImage:
    """A JPEG or PNG image as it goes into a record; sizes in pixels."""

    data: bytes
    height: int
    width: int


class ImageSource(Protocol):
    """Labelled images that can be read one at a time."""

    @property
    def description(self) -> str:
        """Where the images come from, for people."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        ...

    @property
    def first_label(self) -> int:
        """Label of the first class: 0, or 1 of images with boxes, where 0 is the background."""
        ...

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of every image, in the order of `read`'s index; of images with boxes none."""
        ...

    def read(self, index: int) -> EncodedImage | AnnotatedImage:
        """Reads image `index`.

        Raises:
          DataError: if it is damaged; the message names the file.
        """
        ...


class Digits:
    """The test part of UCI's handwritten digits: 1,797 scans of 8x8 pixels and 17 grey levels."""

    description = "scikit-learn digits (UCI optical recognition of handwritten digits)"
    first_label = 0

    def __init__(self, size: int = DIGITS_SIZE) -> None:
        # Takes a second to import; a folder of images does without it.
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._scans: np.ndarray = digits.images
        self._size = size
        self.class_names = tuple(str(name) for name in digits.target_names)
        self.labels = tuple(int(label) for label in digits.target)

    def read(self, index: int) -> EncodedImage:
        grey = np.round(self._scans[index] * (255 / _DIGITS_MAX)).astype(np.uint8)
        # Bicubic keeps strokes smooth where nearest neighbour would teach the net 4x4 blocks;
        # Lanczos rings around them.
        image = Image.fromarray(grey).resize((self._size, self._size), Image.Resampling.BICUBIC)
        return EncodedImage(_encode(image, "PNG"), self._size, self._size)


@dataclass(frozen=True)
class ImageFolder:
    """A folder with one folder of images per class.

    JPEG and PNG images are taken byte for byte where they can be; other formats, turned
    photographs and CMYK images are converted.

    Attributes:
      directory: the folder.
      class_names: names of the class folders, sorted.
      labels: label of every image.
      paths: file of every image, sorted within a class.
      skipped: visible files that are no images by their name.
      size: shorter side of every image in pixels; None leaves the images as they are.
    """

    first_label: ClassVar[int] = 0
    directory: Path
    class_names: tuple[str, ...]
    labels: tuple[int, ...]
    paths: tuple[Path, ...] = field(repr=False)
    skipped: tuple[Path, ...]
    size: int | None

    @classmethod
    def open(cls, directory: Path, *, size: int | None = None) -> ImageFolder:
        """Lists the images of `directory`, without reading one.

        Raises:
          DataError: if it is no directory, holds no class, or a class holds no image.
        """
        if not directory.is_dir():
            found = "is a file" if directory.exists() else "does not exist"
            raise DataError(f"--image_dir: {directory} {found}, expected a directory")
        try:
            class_dirs = [path for path in _visible(directory.iterdir()) if path.is_dir()]
        except OSError as error:
            raise DataError(f"--image_dir: {directory} cannot be read: {error.strerror or error}") from error
        if not class_dirs:
            raise DataError(
                f"--image_dir: {directory} holds no folder, expected one folder of images per class"
            )
        labels: list[int] = []
        paths: list[Path] = []
        skipped: list[Path] = []
        for label, class_dir in enumerate(class_dirs):
            files = [path for path in _visible(class_dir.rglob("*")) if path.is_file()]
            images = [path for path in files if path.suffix.lower() in _IMAGE_SUFFIXES]
            skipped += [path for path in files if path.suffix.lower() not in _IMAGE_SUFFIXES]
            if not images:
                raise DataError(
                    f"--image_dir: the class folder {class_dir} holds no image, expected files "
                    f"that end in {', '.join(sorted(_IMAGE_SUFFIXES))}"
                )
            paths += images
            labels += [label] * len(images)
        return cls(
            directory=directory,
            class_names=tuple(path.name for path in class_dirs),
            labels=tuple(labels),
            paths=tuple(paths),
            skipped=tuple(skipped),
            size=size,
        )

    @property
    def description(self) -> str:
        return f"images of {self.directory}"

    def read(self, index: int) -> EncodedImage:
        path = self.paths[index]
        try:
            data = path.read_bytes()
            return prepare(data, self.size)
        except ImageError as error:
            raise DataError(f"--image_dir: {path}: {error}") from error
        except OSError as error:
            raise DataError(f"--image_dir: {path} cannot be read: {error.strerror or error}") from error


def prepare(data: bytes, size: int | None) -> EncodedImage:
    """Checks an image by decoding it, and converts it where a trainer could not read it."""
    image = load_image(open_image(data))
    keep_format = image.format if image.format in TRAINABLE_FORMATS else "PNG"
    turned = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) != _UPRIGHT
    if (
        image.format in TRAINABLE_FORMATS
        and image.mode in _TRAINABLE_MODES
        and not turned
        and (size is None or min(image.size) == size)
    ):
        return EncodedImage(data, image.height, image.width)
    if turned:
        image = ImageOps.exif_transpose(image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if size is not None:
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return EncodedImage(_encode(image, keep_format), image.height, image.width)


def _encode(image: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    if image_format == "JPEG":
        image.save(buffer, "JPEG", quality=95)
    else:
        image.save(buffer, image_format)
    return buffer.getvalue()


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not path.name.startswith("."))
