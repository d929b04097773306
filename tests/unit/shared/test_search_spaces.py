"""Search spaces: PyGlove's language on the outside, flat integers on the inside."""

import json
import random
import sys
import time

import pyglove as pg
import pytest

from nas_shared import search_spaces
from nas_shared.search_spaces import NasParamsError, SearchSpace, SearchSpaceError, mnasnet, spinenet


class Layer(pg.Object):
    kernel: int
    act: str


def random_choices(space, seed):
    generator = random.Random(seed)
    return tuple(generator.randrange(n) for n in space.cardinalities)


@pytest.mark.parametrize("name", ["mnasnet", "mnasnet_a1"])
def test_mnasnet_spaces_have_the_size_of_the_paper(name):
    space = search_spaces.load(name)
    assert space.size == 144**2 * 216**5
    assert len(space.decisions) == 7 * 6


def test_decisions_carry_the_names_and_literals_of_the_contract():
    decisions = {d.name: d.literals for d in search_spaces.load("mnasnet").decisions}
    assert decisions["blocks[0].kernel_size"] == ("0/2 (3)", "1/2 (5)")
    assert decisions["blocks[0].num_repeats"] == ("0/2 (1)", "1/2 (2)")
    assert decisions["blocks[3].num_repeats"] == ("0/3 (4)", "1/3 (3)", "2/3 (5)")
    assert decisions["blocks[0].output_filters"] == ("0/3 (12)", "1/3 (16)", "2/3 (20)")
    assert decisions["blocks[0].se_ratio"] == ("0/2 (0)", "1/2 (0.25)")
    assert decisions["blocks[0].block_fn"] == ("0/2 ('conv')", "1/2 ('mbconv')")
    assert decisions["blocks[0].expand_ratio"] == ("0/3 (1)", "1/3 (3)", "2/3 (6)")


@pytest.mark.parametrize("name", search_spaces.NAMES)
def test_flat_encoding_agrees_with_pyglove(name):
    space = search_spaces.load(name)
    hyper_value = getattr(spinenet if name == "spinenet" else mnasnet, name)()
    spec = pg.dna_spec(hyper_value)
    for seed in range(4):
        dna = pg.random_dna(spec, random.Random(seed))
        params = dna.parameters(use_literal_values=True)
        choices = space.choices(json.dumps(params))
        assert all(0 <= c < n for c, n in zip(choices, space.cardinalities, strict=True))
        assert json.loads(space.nas_params_str(choices)) == params
        theirs = pg.materialize(hyper_value, params)
        assert pg.eq(space.materialize(json.dumps(params)), theirs)
        assert pg.DNA.from_parameters(params, spec, use_literal_values=True) == dna


@pytest.mark.parametrize("name", search_spaces.NAMES)
def test_choices_survive_the_way_to_json_and_back(name):
    space = search_spaces.load(name)
    for seed in range(200):
        choices = random_choices(space, seed)
        assert space.choices(space.nas_params_str(choices)) == choices


def test_references_are_the_published_networks():
    mobilenet_v2 = search_spaces.load("mnasnet")
    blocks = mobilenet_v2.materialize(mobilenet_v2.references["mobilenet_v2"]).blocks
    assert [b.num_repeats for b in blocks] == [1, 2, 3, 4, 3, 3, 1]
    assert [b.output_filters for b in blocks] == [16, 24, 32, 64, 96, 160, 320]
    assert [b.expand_ratio for b in blocks] == [1, 6, 6, 6, 6, 6, 6]
    assert {b.kernel_size for b in blocks} == {3}
    assert {b.se_ratio for b in blocks} == {0}
    assert {b.block_fn for b in blocks} == {"mbconv"}

    a1 = search_spaces.load("mnasnet_a1")
    blocks = a1.materialize(a1.references["mnasnet_a1"]).blocks
    assert [b.num_repeats for b in blocks] == [1, 2, 3, 4, 2, 3, 1]
    assert [b.output_filters for b in blocks] == [16, 24, 40, 80, 112, 160, 320]
    assert [b.expand_ratio for b in blocks] == [1, 6, 3, 6, 6, 6, 6]
    assert [b.kernel_size for b in blocks] == [3, 3, 5, 3, 3, 5, 3]
    assert [b.se_ratio for b in blocks] == [0, 0, 0.25, 0, 0.25, 0.25, 0]
    assert {b.block_fn for b in blocks} == {"mbconv"}


def test_a1_lies_outside_the_space_around_mobilenet_v2():
    a1 = search_spaces.load("mnasnet_a1").references["mnasnet_a1"]
    with pytest.raises(NasParamsError, match=r'blocks\[2\]\.output_filters": found "1/3 \(40\)"'):
        search_spaces.load("mnasnet").choices(a1)
    with pytest.raises(SearchSpaceError, match=r"'mnasnet' does not hold its reference 'a1'"):
        SearchSpace("mnasnet", mnasnet.mnasnet(), {"a1": mnasnet.MNASNET_A1})


def test_choices_out_of_range_or_of_wrong_number_are_named():
    space = search_spaces.load("mnasnet")
    with pytest.raises(NasParamsError, match=r"found 41 choices; .* has 42 decisions"):
        space.nas_params_str([0] * 41)
    for wrong in (-1, 2):
        with pytest.raises(NasParamsError, match=rf"blocks\[0\]\.num_repeats: found choice {wrong}"):
            space.nas_params_str([wrong] + [0] * 41)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", r"found '\[1, 2\]'; expected a JSON object"),
        ("{}", r'key "blocks\[0\]\.num_repeats" is missing; expected one of "0/2 \(1\)", "1/2 \(2\)"'),
    ],
)
def test_text_that_is_no_proposal_is_refused(text, message):
    with pytest.raises(NasParamsError, match=message):
        search_spaces.load("mnasnet").choices(text)


@pytest.mark.parametrize("value", ["1/2 (7)", "5", 5, None, [5], {"a": 1}])
def test_value_outside_the_candidates_names_key_found_and_expected(value):
    space = search_spaces.load("mnasnet")
    params = json.loads(space.nas_params_str([0] * 42))
    params["blocks[6].kernel_size"] = value
    with pytest.raises(NasParamsError) as error:
        space.materialize(json.dumps(params))
    assert 'key "blocks[6].kernel_size"' in str(error.value)
    assert f"found {json.dumps(value)}" in str(error.value)
    assert 'expected one of "0/2 (3)", "1/2 (5)"' in str(error.value)


def test_key_of_another_space_is_named():
    space = search_spaces.load("mnasnet")
    params = {**json.loads(space.nas_params_str([0] * 42)), "blocks[7].kernel_size": "0/2 (3)"}
    with pytest.raises(NasParamsError, match=r'found key "blocks\[7\]\.kernel_size"'):
        space.choices(json.dumps(params))


@pytest.mark.parametrize(
    ("hyper_value", "message"),
    [
        ([pg.oneof([1, pg.oneof([2, 3])])], r"'\[0\]': candidate 1 holds decisions of its own"),
        ({"x": pg.floatv(0.0, 1.0)}, r"'x' is a Float"),
        ({"x": 1}, "has no decision; found Dict"),
    ],
)
def test_decision_that_is_not_flat_is_refused_by_name(hyper_value, message):
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace("mine", hyper_value)


def test_space_of_a_user_is_loaded_by_module_and_attribute(tmp_path, monkeypatch):
    (tmp_path / "my_space.py").write_text(
        "import pyglove as pg\n"
        "class Layer(pg.Object):\n"
        "    kernel: int\n"
        "    act: str\n"
        "value = Layer(pg.oneof([1, 3, 5]), pg.oneof(['relu', 'swish']))\n"
        "def make():\n"
        "    return [value, value]\n"
        "def broken():\n"
        "    raise RuntimeError('no such file')\n"
        "number = 3\n"
    )
    (tmp_path / "my_broken_space.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        space = search_spaces.load("my_space:value")
        assert space.name == "my_space:value"
        assert space.size == 6
        assert space.materialize(space.nas_params_str([2, 1])).kernel == 5
        assert search_spaces.load("my_space:make").cardinalities == (3, 2, 3, 2)
        for name, message in [
            ("my_space:nothing", "module my_space has no attribute 'nothing'"),
            ("my_space:broken", r"broken\(\) failed: RuntimeError: no such file"),
            ("my_space:number", "has no decision; found int"),
            ("my_broken_space:x", "importing my_broken_space failed: ZeroDivisionError"),
            ("no_such_module:x", "no module named 'no_such_module'"),
            (":x", "expected module:attribute"),
        ]:
            with pytest.raises(SearchSpaceError, match=message):
                search_spaces.load(name)
    finally:
        sys.modules.pop("my_space", None)


@pytest.mark.parametrize("name", ["nasfpn", "efficientnet_v2", "mnasnot", ""])
def test_unknown_space_lists_the_known_ones(name):
    with pytest.raises(SearchSpaceError, match=f"{name!r} is not known; expected one of mnasnet, mnasnet_a1"):
        search_spaces.load(name)


def test_awkward_literals_round_trip():
    space = SearchSpace("awkward", {"x": pg.oneof(['a "quoted" é', None, True, 1.5, Layer(3, "relu")])})
    for choice in range(5):
        text = space.nas_params_str([choice])
        assert space.choices(text) == (choice,)
        space.materialize(text)


def test_coding_stays_out_of_pyglove():
    space = search_spaces.load("mnasnet")
    choices = random_choices(space, 0)
    start = time.perf_counter()
    for _ in range(1000):
        assert space.choices(space.nas_params_str(choices)) == choices
    # About 0.05 s; PyGlove would need 50 s.
    assert time.perf_counter() - start < 5
