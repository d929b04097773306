"""The SpineNet space, choices of several, and when two encodings are one network."""

import itertools
import json
import random

import pyglove as pg
import pytest

from nas_shared import search_spaces
from nas_shared.search_spaces import NasParamsError, SearchSpace
from nas_shared.search_spaces.graphs import canonical_form

SPACE = search_spaces.load("spinenet")
SPINENET_49 = json.loads(SPACE.references["spinenet49"])


def points(count):
    generator = random.Random(7)
    return [tuple(generator.randrange(n) for n in SPACE.cardinalities) for _ in range(count)]


def changed(params, **changes):
    """`params` with other values; the index before a value is looked up in the space."""
    literals = {decision.name: decision for decision in SPACE.decisions}
    found = dict(params)
    for name, value in changes.items():
        decision = literals[name]
        found[name] = decision.literals[decision.values.index(repr(value))]
    return json.dumps(found)


def test_the_space_has_the_size_that_users_know():
    assert SPACE.size == pytest.approx(4.84e38, rel=0.001)
    assert SPACE.size == SPACE._dna_spec.space_size


@pytest.mark.parametrize(
    ("hyper_value", "size"),
    [
        (pg.Dict(x=pg.permutate([1, 2, 3, 4])), 24),
        (pg.Dict(x=pg.manyof(2, [1, 2, 3, 4])), 12),
        (pg.Dict(x=pg.manyof(2, [1, 2, 3, 4], distinct=True, sorted=True)), 6),
        (pg.Dict(x=pg.manyof(2, [1, 2, 3, 4], distinct=False, sorted=False)), 16),
        (pg.Dict(x=pg.manyof(2, [1, 2, 3, 4], distinct=False, sorted=True)), 10),
    ],
)
def test_every_row_of_integers_is_one_choice_and_every_choice_one_row(hyper_value, size):
    space = SearchSpace("mine", hyper_value)
    rows = list(itertools.product(*(range(n) for n in space.cardinalities)))
    texts = {space.nas_params_str(row) for row in rows}
    assert len(rows) == len(texts) == space.size == pg.dna_spec(hyper_value).space_size == size
    assert [space.choices(space.nas_params_str(row)) for row in rows] == rows
    for text in texts:
        theirs = pg.materialize(hyper_value, json.loads(text))
        assert pg.eq(space.materialize(text), theirs)


def test_choices_that_do_not_go_together_are_named():
    twice = {**SPINENET_49, "base_levels[0]": SPINENET_49["base_levels[1]"]}
    with pytest.raises(NasParamsError, match=r"base_levels\[0\]=.* and base_levels\[1\]=.*different ones"):
        SPACE.choices(json.dumps(twice))
    with pytest.raises(NasParamsError, match=r"intermediate\[4\]\.inputs\[1\].*ascending order"):
        SPACE.choices(
            changed(SPINENET_49, **{"intermediate[4].inputs[0]": 5, "intermediate[4].inputs[1]": 4})
        )


def test_levels_stay_between_the_stem_and_the_coarsest_output():
    levels = {spec.level for point in points(50) for spec in _specs(point)}
    assert levels == {2, 3, 4, 5, 6, 7}


def test_the_reference_is_the_published_network():
    specs = SPACE.materialize(SPACE.references["spinenet49"]).block_specs()
    published = [2, 4, 3, 4, 6, 4, 5, 7, 5, 5, 4, 3, 5, 7, 6]
    assert [spec.level for i, spec in enumerate(specs) if i != 10] == published
    assert [spec.inputs for spec in specs[11:]] == [(5, 10), (4, 10), (7, 13), (5, 15), (13, 15)]


def test_a_block_that_leads_nowhere_makes_no_difference():
    # Block 12 of SpineNet-49 leads nowhere.
    reference = SPACE.identity(json.dumps(SPINENET_49))
    assert SPACE.identity(changed(SPINENET_49, **{"intermediate[10].block_fn": "residual"})) == reference
    assert SPACE.identity(changed(SPINENET_49, **{"intermediate[10].inputs[1]": 10})) == reference


def test_a_block_that_an_output_takes_up_makes_a_difference():
    # Block 11 leads nowhere before the output of its level and kind, which adds it to its inputs.
    reference = SPACE.identity(json.dumps(SPINENET_49))
    assert SPACE.identity(changed(SPINENET_49, **{"intermediate[9].level_offset": 0})) != reference
    assert SPACE.identity(changed(SPINENET_49, **{"intermediate[9].block_fn": "residual"})) != reference


def test_equal_base_levels_may_change_places():
    swapped = dict(SPINENET_49)
    swapped["base_levels[0]"], swapped["base_levels[1]"] = (
        SPINENET_49["base_levels[1]"],
        SPINENET_49["base_levels[0]"],
    )
    assert swapped != SPINENET_49
    assert SPACE.identity(json.dumps(swapped)) == SPACE.identity(json.dumps(SPINENET_49))


def test_offsets_that_are_clipped_to_one_level_are_one_network():
    lowered = dict(SPINENET_49)
    # The base level 2 now stands first, where -1 and 0 both come to level 2.
    lowered["base_levels[0]"], lowered["base_levels[10]"] = (
        SPINENET_49["base_levels[10]"],
        SPINENET_49["base_levels[0]"],
    )
    first, second = (
        changed(lowered, **{"intermediate[0].level_offset": offset, "intermediate[10].level_offset": -1})
        for offset in (-1, 0)
    )
    assert SPACE.identity(first) == SPACE.identity(second) == SPACE.identity(json.dumps(SPINENET_49))


def test_random_points_are_different_networks():
    assert len({SPACE.identity(SPACE.nas_params_str(point)) for point in points(100)}) == 100


def test_a_convolution_has_neither_expansion_nor_squeeze_and_excitation():
    space = search_spaces.load("mnasnet")
    params = json.loads(space.references["mobilenet_v2"])
    params["blocks[3].block_fn"] = "0/2 ('conv')"
    same = {**params, "blocks[3].expand_ratio": "0/3 (1)", "blocks[3].se_ratio": "1/2 (0.25)"}
    other = {**params, "blocks[2].expand_ratio": "0/3 (1)"}
    assert space.identity(json.dumps(params)) == space.identity(json.dumps(same))
    assert space.identity(json.dumps(params)) != space.identity(json.dumps(other))


def test_graphs_that_differ_in_numbers_alone_are_written_alike():
    generator = random.Random(3)
    # Two parallel chains, which no look at neighbours tells apart, and a node with one parent twice.
    kinds = {0: "in", 1: "a", 2: "a", 3: "b", 4: "b", 5: "out"}
    parents = {0: [], 1: [0, 0], 2: [0, 0], 3: [1], 4: [2], 5: [3, 4]}
    form = canonical_form(kinds, parents)
    for _ in range(20):
        new = dict(zip(kinds, generator.sample(range(6), 6), strict=True))
        renamed = {new[n]: [new[p] for p in found] for n, found in parents.items()}
        assert canonical_form({new[n]: kind for n, kind in kinds.items()}, renamed) == form
    crossed = {**parents, 4: [1], 3: [1]}
    assert canonical_form(kinds, crossed) != form


def _specs(point):
    return SPACE.materialize(SPACE.nas_params_str(point)).block_specs()
