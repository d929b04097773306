"""Encoded images: which ones a trainer can decode, and what is wrong with the others."""

from __future__ import annotations

import io

from PIL import Image

# What contract and TensorFlow's decoder have in common.
TRAINABLE_FORMATS = ("JPEG", "PNG")


class ImageError(ValueError):
    """An image cannot be used; the message says what was found and what was expected."""


def check_image(data: bytes, *, decode: bool) -> None:
    """Checks that `data` is a JPEG or PNG image.

    Args:
      data: the encoded image.
      decode: decode every pixel, which finds damage behind the header; otherwise read the header.
    Raises:
      ImageError: if it is empty, of another format, or damaged.
    """
    image = open_image(data)
    if image.format not in TRAINABLE_FORMATS:
        raise ImageError(f"found a {image.format} image, expected JPEG or PNG")
    if decode:
        # An eighth of the size reads the whole JPEG stream but spares most of the arithmetic.
        image.draft(None, (image.width // 8, image.height // 8))
        load_image(image)


def open_image(data: bytes) -> Image.Image:
    """Reads the header of an encoded image of any format that Pillow knows.

    Raises:
      ImageError: if it is empty or no image.
    """
    if not data:
        raise ImageError("found 0 bytes, expected a JPEG or PNG image")
    try:
        return Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow names no closed set of errors for damaged input.
        raise ImageError(
            f"found {len(data)} bytes that start with {data[:8]!r}, expected a JPEG or PNG image"
        ) from error


def load_image(image: Image.Image) -> Image.Image:
    """Decodes the pixels of an opened image.

    Raises:
      ImageError: if the image is damaged.
    """
    try:
        image.load()
    except Exception as error:  # See open_image.
        raise ImageError(
            f"found a damaged {image.format} image ({error}), expected one that can be decoded"
        ) from error
    return image
