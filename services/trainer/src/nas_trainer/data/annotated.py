"""Images with boxes: what a record of a detection set holds, and what can be wrong with its boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

XMIN_FIELD = "image/object/bbox/xmin"
XMAX_FIELD = "image/object/bbox/xmax"
YMIN_FIELD = "image/object/bbox/ymin"
YMAX_FIELD = "image/object/bbox/ymax"
OBJECT_LABEL_FIELD = "image/object/class/label"
BOX_FIELDS = (XMIN_FIELD, XMAX_FIELD, YMIN_FIELD, YMAX_FIELD)

# Labels start above it.
BACKGROUND = 0


@dataclass(frozen=True)
class Box:
    """A box around an object; coordinates over the image's width and height, 0 to 1."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass(frozen=True)
class AnnotatedImage:
    """A JPEG or PNG image with its objects.

    Attributes:
      data: the encoded image.
      height, width: in pixels.
      boxes: one per object.
      labels: class of each object, from 1.
    """

    data: bytes
    height: int
    width: int
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]


class BoxError(ValueError):
    """A box or label cannot be right; names the field, what was found and what was expected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_objects(
    xmin: Sequence[float],
    xmax: Sequence[float],
    ymin: Sequence[float],
    ymax: Sequence[float],
    labels: Sequence[int],
    num_classes: int,
) -> None:
    """Checks the objects of one image.

    Args:
      xmin, xmax, ymin, ymax: one number per object.
      labels: one per object, 1 to `num_classes` - 1.
      num_classes: the background included.
    Raises:
      BoxError: at the first defect.
    """
    for field, values in zip(BOX_FIELDS, (xmin, xmax, ymin, ymax), strict=True):
        if len(values) != len(labels):
            raise BoxError(
                field, f"found {len(values)} values with {len(labels)} labels, expected as many of both"
            )
        for number, value in enumerate(values):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise BoxError(
                    field, f"found {value:g} for object {number}, expected a coordinate from 0 to 1"
                )
    for low_field, high_field, low, high in (
        (XMIN_FIELD, XMAX_FIELD, xmin, xmax),
        (YMIN_FIELD, YMAX_FIELD, ymin, ymax),
    ):
        for number, (least, most) in enumerate(zip(low, high, strict=True)):
            if most <= least:
                raise BoxError(
                    high_field,
                    f"found {most:g} for object {number}, expected more than its {low_field} {least:g}",
                )
    for number, label in enumerate(labels):
        if not BACKGROUND < label < num_classes:
            raise BoxError(
                OBJECT_LABEL_FIELD,
                f"found {label} for object {number}, expected a class from 1 to {num_classes - 1} "
                f"({num_classes} classes, of which 0 is the background)",
            )
