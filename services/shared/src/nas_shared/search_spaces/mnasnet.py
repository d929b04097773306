"""The MnasNet search space (arXiv 1807.11626, section 4 and figure 4).

This is the file to edit to change what is searched: add a kernel size to `KERNEL_SIZES`, fix
a decision by writing its value where `pg.oneof(...)` stands, or copy the file and name the
copy `--search_space_module=my_package.my_module:mnasnet`.

A network is seven stages, one `Block` each. Every `pg.oneof` is one decision; its place in the
object is the key in `nas_params_str` (`blocks[0].kernel_size`), and the order of its
candidates is part of what is stored (`"1/2 (5)"` is candidate 1 of 2): append candidates,
never reorder them while searches of the old order are still to be read.

Widths and repeats are chosen around those of a reference network. Both references have the
same kind of space, but stage 5 of MnasNet-A1 has 112 filters, which lie in no space built
around MobileNetV2's 96 (72, 96, 120). There are therefore two spaces of equal size:

- `mnasnet`, around MobileNetV2 as in the paper; holds MobileNetV2 exactly;
- `mnasnet_a1`, around MnasNet-A1; holds MnasNet-A1 exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyglove as pg

BLOCK_FNS = ("conv", "mbconv")
EXPAND_RATIOS = (1, 3, 6)
KERNEL_SIZES = (3, 5)
SE_RATIOS = (0, 0.25)
FILTER_MULTIPLIERS = (0.75, 1.0, 1.25)


class Block(pg.Object):
    """One stage of the network.

    Attributes:
      num_repeats: layers in the stage, at least 1; the first has the stage's stride.
      block_fn: `conv`, a convolution with batch normalisation and activation, or `mbconv`,
          an inverted bottleneck (arXiv 1801.04381).
      expand_ratio: filters inside an `mbconv` over its input filters; 1 is a depthwise
          separable convolution (`SepConv`). Means nothing for `conv`.
      kernel_size: side of the (depthwise) kernel in pixels.
      se_ratio: filters of the squeeze-and-excite bottleneck over the *input* filters of the
          block; 0 is none. Means nothing for `conv`.
      output_filters: filters the stage puts out.
    """

    num_repeats: int
    block_fn: Literal["conv", "mbconv"]
    expand_ratio: int
    kernel_size: int
    se_ratio: float
    output_filters: int


class MnasNet(pg.Object):
    """The stages between stem and head, first to last.

    Attributes:
      blocks: seven stages. The trainer gives them strides 1 2 2 2 1 2 1.
    """

    blocks: list[Block]


MOBILENET_V2 = MnasNet(
    blocks=[
        Block(1, "mbconv", 1, 3, 0, 16),
        Block(2, "mbconv", 6, 3, 0, 24),
        Block(3, "mbconv", 6, 3, 0, 32),
        Block(4, "mbconv", 6, 3, 0, 64),
        Block(3, "mbconv", 6, 3, 0, 96),
        Block(3, "mbconv", 6, 3, 0, 160),
        Block(1, "mbconv", 6, 3, 0, 320),
    ]
)
"""MobileNetV2 1.0 (arXiv 1801.04381, table 2)."""

MNASNET_A1 = MnasNet(
    blocks=[
        Block(1, "mbconv", 1, 3, 0, 16),
        Block(2, "mbconv", 6, 3, 0, 24),
        Block(3, "mbconv", 3, 5, 0.25, 40),
        Block(4, "mbconv", 6, 3, 0, 80),
        Block(2, "mbconv", 6, 3, 0.25, 112),
        Block(3, "mbconv", 6, 5, 0.25, 160),
        Block(1, "mbconv", 6, 3, 0, 320),
    ]
)
"""MnasNet-A1 (arXiv 1807.11626, figure 7)."""


def mnasnet() -> MnasNet:
    """The space around MobileNetV2: 144^2 * 216^5 = 9.7e15 networks."""
    return space_around(MOBILENET_V2)


def mnasnet_a1() -> MnasNet:
    """The space around MnasNet-A1, of the same size."""
    return space_around(MNASNET_A1)


def space_around(reference: MnasNet) -> MnasNet:
    """The space whose repeats and widths are chosen around those of `reference`."""
    return MnasNet(
        blocks=[
            Block(
                num_repeats=pg.oneof(repeats_around(block.num_repeats)),
                block_fn=pg.oneof(BLOCK_FNS),
                expand_ratio=pg.oneof(EXPAND_RATIOS),
                kernel_size=pg.oneof(KERNEL_SIZES),
                se_ratio=pg.oneof(SE_RATIOS),
                output_filters=pg.oneof(filters_around(block.output_filters)),
            )
            for block in reference.blocks
        ]
    )


def network(values: Mapping[str, Any]) -> object:
    """What is built: a convolution has neither expansion nor squeeze-and-excitation."""
    return sorted(
        (name, value)
        for name, value in values.items()
        if not name.endswith((".expand_ratio", ".se_ratio"))
        or values[f"{name.partition('.')[0]}.block_fn"] == "mbconv"
    )


def repeats_around(repeats: int) -> list[int]:
    """One layer fewer or more than the reference, and never none."""
    return [repeats, repeats - 1, repeats + 1] if repeats > 1 else [1, 2]


def filters_around(filters: int) -> list[int]:
    """Three quarters, the same and five quarters of the reference, rounded down."""
    return [int(filters * multiplier) for multiplier in FILTER_MULTIPLIERS]
