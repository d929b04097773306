"""The MnasNet backbone against the papers and the library."""

import json
import re
import subprocess
import sys

import pytest

from nas_shared import search_spaces
from nas_trainer import describe
from nas_trainer.models import mnasnet


@pytest.mark.parametrize(
    ("space", "reference", "trainable", "multiply_adds"),
    [
        ("mnasnet", "mobilenet_v2", 3_504_872, 300e6),
        ("mnasnet_a1", "mnasnet_a1", 3_904_824, 312e6),
    ],
)
def test_reference_networks_agree_with_their_papers(space, reference, trainable, multiply_adds):
    size = describe.describe(space, search_spaces.load(space).references[reference])
    assert size["trainable_parameters"] == trainable
    assert size["parameters"] > trainable
    assert size["multiply_adds"] == pytest.approx(multiply_adds, rel=0.01)


def test_squeeze_width_is_a_share_of_the_input_filters():
    space = search_spaces.load("mnasnet_a1")
    stages = space.materialize(space.references["mnasnet_a1"]).blocks
    rows = mnasnet.block_specs(stages, mnasnet.MnasNet(), "relu")["block_specs"]
    third_stage = rows[4]
    assert third_stage == ("invertedbottleneck", 5, 2, 40, "relu", 3.0, 0.25 / 3, False)


def test_stages_have_the_strides_of_the_paper_and_few_endpoints():
    space = search_spaces.load("mnasnet")
    stages = space.materialize(space.references["mobilenet_v2"]).blocks
    rows = mnasnet.block_specs(stages, mnasnet.MnasNet(), "relu")["block_specs"]
    assert len(rows) == 1 + 17 + 1
    assert [row[2] for row in rows if row[2] == 2] == [2] * 5
    # The library picks the last endpoint by string order, which fails from ten on.
    assert sum(row[-1] for row in rows) == 4


def test_space_with_another_number_of_stages_is_refused():
    with pytest.raises(ValueError, match="has 0 stages; the mnasnet backbone has 7"):
        mnasnet.block_specs([], mnasnet.MnasNet(), "relu")


def test_describe_prints_json_for_a_file(tmp_path):
    path = tmp_path / "nas_params_str.json"
    path.write_text(search_spaces.load("mnasnet").references["mobilenet_v2"])
    done = _describe(f"--nas_params_str={path}", "--params_override=mnasnet_fast_testing.yaml")
    assert done.returncode == 0, done.stderr
    size = json.loads(done.stdout)
    assert set(size) == {
        "parameters",
        "trainable_parameters",
        "multiply_adds",
        "parameters_without_batch_norm",
    }
    assert size["parameters_without_batch_norm"] < size["trainable_parameters"] < size["parameters"]


def test_a_reference_is_described_by_its_name():
    references = search_spaces.load("mnasnet").references
    assert describe._read("mobilenet_v2", references) == references["mobilenet_v2"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--nas_params_str={}"], 2, '--nas_params_str: .*key "blocks'),
        (["--nas_params_str=none.json"], 2, "--nas_params_str: none.json: No such file"),
        (["--nas_params_str={}", "--search_space=mansnet"], 2, "--search_space: .*'mansnet' is not known"),
    ],
)
def test_describe_answers_bad_input_in_one_line(flags, code, message):
    done = _describe(*flags)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert re.search(message, done.stderr)


def _describe(*flags):
    command = [sys.executable, "-m", "nas_trainer.describe", "--search_space=mnasnet", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
