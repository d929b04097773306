"""The SpineNet search space (arXiv 1912.05027, section 3): scale-permuted backbones for detection.

This is the file to edit to change what is searched. A network is two stem blocks of level 2 (0 and 1),
eleven intermediate blocks (2 to 12) and five output blocks (13 to 17), one of each level 3 to 7. A block of
level l works at 1/2^l of the image's size; its two inputs are blocks that come before it, resampled to that
size. What is chosen:

- the order of the intermediate blocks' base levels, a permutation of `BASE_LEVELS`;
- per intermediate block an offset to its level, its kind, and two of the `REACH` blocks before it;
- the order of the output levels, and per output block its kind and two of all blocks before it.

The level that comes of base and offset is kept within `MIN_LEVEL` and `MAX_LEVEL`: at level 1 a block would
cost as much as all others, and nothing is coarser than the coarsest output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyglove as pg

from nas_shared.search_spaces.graphs import canonical_form

BASE_LEVELS = (2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5)
LEVEL_OFFSETS = (-1, 0, 1, 2)
BLOCK_FNS = ("residual", "bottleneck")
OUTPUT_LEVELS = (3, 4, 5, 6, 7)
MIN_LEVEL, MAX_LEVEL = 2, 7
REACH = 4
NUM_STEM_BLOCKS = 2
FIRST_OUTPUT = NUM_STEM_BLOCKS + len(BASE_LEVELS)
STEM_LEVEL, STEM_FN = 2, "bottleneck"


class IntermediateBlock(pg.Object):
    """A block between stem and outputs.

    Attributes:
      level_offset: added to the base level at its place.
      block_fn: `residual`, two 3x3 convolutions, or `bottleneck` (arXiv 1512.03385, figure 5).
      inputs: two different blocks by number, ascending.
    """

    level_offset: int
    block_fn: Literal["residual", "bottleneck"]
    inputs: list[int]


class OutputBlock(pg.Object):
    """A block whose features go to the detection head.

    Attributes:
      block_fn: as above.
      inputs: two different blocks by number, ascending.
    """

    block_fn: Literal["residual", "bottleneck"]
    inputs: list[int]


@dataclass(frozen=True)
class BlockSpec:
    """One block as it is built.

    Attributes:
      level: 2 to 7; features have 1/2^level of the image's size.
      inputs: numbers of two blocks; 0 and 1 are the stem.
    """

    level: int
    block_fn: str
    inputs: tuple[int, int]
    is_output: bool


class SpineNet(pg.Object):
    """A scale-permuted network.

    Attributes:
      base_levels: of the intermediate blocks, in order.
      intermediate: blocks 2 to 12.
      output_levels: of the output blocks, in order.
      outputs: blocks 13 to 17.
    """

    base_levels: list[int]
    intermediate: list[IntermediateBlock]
    output_levels: list[int]
    outputs: list[OutputBlock]

    def block_specs(self) -> tuple[BlockSpec, ...]:
        """Every block after the stem, from the third (number 2) on."""
        blocks: list[IntermediateBlock | OutputBlock] = [*self.intermediate, *self.outputs]
        levels = [
            base + block.level_offset for base, block in zip(self.base_levels, self.intermediate, strict=True)
        ]
        levels += self.output_levels
        return _block_specs(levels, [block.block_fn for block in blocks], [block.inputs for block in blocks])


SPINENET_49 = SpineNet(
    base_levels=[3, 3, 3, 4, 5, 4, 4, 5, 4, 4, 2],
    intermediate=[
        IntermediateBlock(-1, "bottleneck", [0, 1]),
        IntermediateBlock(1, "residual", [0, 1]),
        IntermediateBlock(0, "bottleneck", [2, 3]),
        IntermediateBlock(0, "bottleneck", [2, 4]),
        IntermediateBlock(1, "residual", [3, 5]),
        IntermediateBlock(0, "bottleneck", [3, 5]),
        IntermediateBlock(1, "residual", [6, 7]),
        IntermediateBlock(2, "residual", [6, 8]),
        IntermediateBlock(1, "bottleneck", [8, 9]),
        IntermediateBlock(1, "bottleneck", [8, 10]),
        IntermediateBlock(0, "bottleneck", [8, 9]),
    ],
    output_levels=[4, 3, 5, 7, 6],
    outputs=[
        OutputBlock("bottleneck", [5, 10]),
        OutputBlock("bottleneck", [4, 10]),
        OutputBlock("bottleneck", [7, 13]),
        OutputBlock("bottleneck", [5, 15]),
        OutputBlock("bottleneck", [13, 15]),
    ],
)
"""SpineNet-49 (arXiv 1912.05027), as the authors released it. Its eleventh intermediate block, of level 2,
leads nowhere; the release lists it last, here it is the last before the outputs."""


def spinenet() -> SpineNet:
    """The space: 4.84e38 encodings."""
    return SpineNet(
        base_levels=pg.permutate(list(BASE_LEVELS)),
        intermediate=[
            IntermediateBlock(
                level_offset=pg.oneof(LEVEL_OFFSETS),
                block_fn=pg.oneof(BLOCK_FNS),
                inputs=_two_of(range(max(number - REACH, 0), number)),
            )
            for number in range(NUM_STEM_BLOCKS, FIRST_OUTPUT)
        ],
        output_levels=pg.permutate(list(OUTPUT_LEVELS)),
        outputs=[
            OutputBlock(block_fn=pg.oneof(BLOCK_FNS), inputs=_two_of(range(number)))
            for number in range(FIRST_OUTPUT, FIRST_OUTPUT + len(OUTPUT_LEVELS))
        ],
    )


def _two_of(numbers: range) -> object:
    return pg.manyof(2, list(numbers), distinct=True, sorted=True)


def _block_specs(
    levels: Sequence[int], block_fns: Sequence[str], inputs: Sequence[Sequence[int]]
) -> tuple[BlockSpec, ...]:
    return tuple(
        BlockSpec(
            min(max(level, MIN_LEVEL), MAX_LEVEL),
            block_fn,
            (pair[0], pair[1]),
            is_output=NUM_STEM_BLOCKS + i >= FIRST_OUTPUT,
        )
        for i, (level, block_fn, pair) in enumerate(zip(levels, block_fns, inputs, strict=True))
    )


def network(values: Mapping[str, Any]) -> object:
    """What the decisions build: the blocks that lead to an output, in an order of their own.

    The trainer's library adds, to the inputs of an output block, every earlier block that leads nowhere yet
    and has its level and kind; the sum of the inputs has no order; blocks that still lead nowhere are
    not built.
    """
    between = [f"intermediate[{i}]" for i in range(len(BASE_LEVELS))]
    outputs = [f"outputs[{i}]" for i in range(len(OUTPUT_LEVELS))]
    levels = [
        values[f"base_levels[{i}]"] + values[f"{block}.level_offset"] for i, block in enumerate(between)
    ]
    specs = _block_specs(
        [*levels, *(values[f"output_levels[{i}]"] for i in range(len(outputs)))],
        [values[f"{block}.block_fn"] for block in (*between, *outputs)],
        [[values[f"{block}.inputs[{i}]"] for i in range(2)] for block in (*between, *outputs)],
    )
    parents = _parents(specs)
    # The stem is one chain: its two blocks are no twins.
    kinds = [f"stem {number}" for number in range(NUM_STEM_BLOCKS)]
    kinds += [f"{spec.level} {spec.block_fn} {spec.is_output}" for spec in specs]
    alive = set(range(FIRST_OUTPUT, len(kinds)))
    for number in reversed(range(len(kinds))):
        if number in alive:
            alive.update(parents[number])
    return canonical_form({n: kinds[n] for n in alive}, {n: parents[n] for n in alive})


def _parents(specs: Sequence[BlockSpec]) -> list[tuple[int, ...]]:
    """The blocks whose features each block adds up, by number; the second stem block follows the first."""
    kinds = [(STEM_LEVEL, STEM_FN)] * NUM_STEM_BLOCKS
    leads_nowhere = [True] * NUM_STEM_BLOCKS
    parents: list[tuple[int, ...]] = [(), (0,)]
    for spec in specs:
        found = list(spec.inputs)
        for number in spec.inputs:
            leads_nowhere[number] = False
        if spec.is_output:
            kind = (spec.level, spec.block_fn)
            merged = [n for n, nowhere in enumerate(leads_nowhere) if nowhere and kinds[n] == kind]
            for number in merged:
                leads_nowhere[number] = False
            found += merged
        parents.append(tuple(found))
        kinds.append((spec.level, spec.block_fn))
        leads_nowhere.append(True)
    return parents
