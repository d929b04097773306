"""Which input a signature asks for, and made-up values that fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas_latency.messages import InputOptions
from nas_latency.runtimes import UnusableModel, UnusableOptions

SEED = 0

Shape = Sequence[int | None]
"""Sizes of a signature; None where it leaves one open."""


def concrete_shapes(
    shapes: Mapping[str, Shape | None], options: InputOptions
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Fills the open sizes of a signature.

    The first dimension is the batch where it is open or the input has four dimensions; the
    second and third of four are height and width. What the signature fixes stays as it is:
    the image size of the options matters only where the signature leaves it open.

    Args:
      shapes: shape per input name; None for an unknown number of dimensions.
      options: what to fill in.
    Returns:
      A concrete shape per input, and the inputs per inference (1 when there is no batch).
    Raises:
      UnusableModel: a size stays open that no option names.
      UnusableOptions: a size stays open that an option should give, or a fixed batch differs.
    """
    for name, shape in shapes.items():
        if shape is None:
            raise UnusableModel(f"input {name!r} has an unknown number of dimensions; expected a shape")
    known = {name: tuple(shape) for name, shape in shapes.items() if shape is not None}
    batch = _batch_size(known, options)
    concrete = {name: _fill(name, shape, batch or 1, options) for name, shape in known.items()}
    return concrete, batch or 1


def _batch_size(shapes: Mapping[str, Shape], options: InputOptions) -> int | None:
    """Inputs per inference, or None when no input has a batch dimension."""
    fixed = {name: shape[0] for name, shape in shapes.items() if len(shape) == 4 and shape[0] is not None}
    has_open = any(len(shape) > 0 and shape[0] is None for shape in shapes.values())
    if not fixed and not has_open:
        if options.batch_size not in (None, 1):
            raise UnusableOptions(
                f"batch_size: found {options.batch_size}, but no input of the model has a batch dimension"
            )
        return None
    batch = options.batch_size or next(iter(fixed.values()), 1)
    for name, size in fixed.items():
        if size != batch:
            raise UnusableOptions(f"batch_size: found {batch}; input {name!r} of the model takes {size}")
    return batch


def _fill(name: str, shape: Shape, batch: int, options: InputOptions) -> tuple[int, ...]:
    is_image = len(shape) == 4
    filled: list[int] = []
    for i, size in enumerate(shape):
        if size is not None:
            filled.append(size)
        elif i == 0:
            filled.append(batch)
        elif is_image and i in (1, 2):
            option = ("image_height", "image_width")[i - 1]
            value = options.image_height if i == 1 else options.image_width
            if value is None:
                raise UnusableOptions(
                    f"{option}: not given, but input {name!r} of the model has the open shape {_shown(shape)}"
                )
            filled.append(value)
        else:
            raise UnusableModel(
                f"input {name!r} has the open shape {_shown(shape)}; only the batch and the height "
                "and width of an image can be filled in"
            )
    return tuple(filled)


def values(name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values of `dtype` (a NumPy name); the same ones every time.

    Pixels (`uint8`) take the whole range and floats [0, 1). Other integers are 0 or 1, which
    are valid as ids and indices of nearly every model.

    Raises:
      UnusableModel: values of this type cannot be made up.
    """
    generator = np.random.default_rng(SEED)
    if dtype == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if dtype in ("float16", "float32", "float64"):
        return generator.random(shape, dtype=np.float64).astype(dtype)
    if dtype in ("int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"):
        return generator.integers(0, 2, shape).astype(dtype)
    raise UnusableModel(f"input {name!r} has dtype {dtype}, for which no values can be made up")


def random_image(options: InputOptions) -> np.ndarray[Any, Any]:
    """One RGB image of the given size, for signatures that take encoded images.

    Raises:
      UnusableOptions: the size is not given.
    """
    for option, value in (("image_height", options.image_height), ("image_width", options.image_width)):
        if value is None:
            raise UnusableOptions(f"{option}: not given, but the model takes encoded images of any size")
    return values("image", (options.image_height or 0, options.image_width or 0, 3), "uint8")


def _shown(shape: Shape) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
