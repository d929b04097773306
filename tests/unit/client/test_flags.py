"""How the command line is read."""

import pytest

from nas_client.flags import (
    BUILD,
    LIST_TRIALS,
    RUN_LATENCY,
    SEARCH,
    SEARCH_IN_LOCAL,
    SEARCH_RESUME,
    TRAIN_COMMAND,
    Values,
    parse,
)
from nas_shared.cli import UsageError

# CONTRACT section 1 and the latency flags.
SEARCH_FLAGS = """
    project_id region trainer_docker_id latency_calculator_docker_id prebuilt_search_space search_space_module
    use_prebuilt_trainer search_docker_flags job_name root_output_dir max_nas_trial max_parallel_nas_trial
    max_failed_nas_trial nas_target_reward_metric accelerator_type num_gpus master_machine_type
    num_mirror_machines target_device_type use_prebuilt_latency_calculator prebuilt_latency_image_width
    prebuilt_latency_image_height prebuilt_latency_input_node prebuilt_latency_output_nodes
    prebuilt_num_repetitions_for_latency_computation prebuilt_latency_tensorrt_conversion_on_gpu
    num_cloud_latency_workers latency_docker_flags
"""
STAGE_2_FLAGS = """
    train_docker_flags train_max_parallel_trial train_frequency train_accelerator_type train_num_gpus
    train_master_machine_type train_num_mirror_machines
"""
GUIDE = """
    --project_id=P --region=us-east1 --job_name=JOB --root_output_dir=ROOT --trainer_docker_id=T
    --latency_calculator_docker_id=L --use_prebuilt_trainer=True --prebuilt_search_space=mnasnet
    --nas_target_reward_metric=top_1_accuracy --accelerator_type=NVIDIA_TESLA_T4 --num_gpus=2
    --master_machine_type=n1-highmem-16 --target_device_type=CPU --use_prebuilt_latency_calculator=True
    --prebuilt_latency_image_width=224 --prebuilt_latency_image_height=224 --max_nas_trial=25
    --max_parallel_nas_trial=6 --max_failed_nas_trial=10 --search_docker_flags params_override=P.yaml
    training_data_path=T* model=classification target_device_latency_ms=50
"""


def read(*words: str) -> Values:
    return parse(SEARCH, words, program="cli")


def test_the_guides_search_command_is_read_as_it_is_printed() -> None:
    values = read(*GUIDE.split())
    assert values["max_nas_trial"] == 25
    assert values["use_prebuilt_trainer"] is True
    assert values["prebuilt_latency_image_width"] == 224
    assert values["search_docker_flags"] == {
        "params_override": "P.yaml",
        "training_data_path": "T*",
        "model": "classification",
        "target_device_latency_ms": "50",
    }
    assert "seed" not in values.given


def test_every_flag_of_the_contract_is_known_and_none_stands_twice() -> None:
    names = [flag.name for flag in SEARCH.flags]
    assert {*SEARCH_FLAGS.split(), *STAGE_2_FLAGS.split()} <= set(names)
    for command in (
        SEARCH,
        SEARCH_RESUME,
        LIST_TRIALS,
        SEARCH_IN_LOCAL,
        TRAIN_COMMAND,
        RUN_LATENCY,
        BUILD,
    ):
        names = [flag.name for flag in command.flags]
        assert len(names) == len(set(names))


def test_defaults_are_those_of_the_contract() -> None:
    values = read()
    assert [values[f"max_{kind}nas_trial"] for kind in ("", "parallel_", "failed_")] == [5, 5, 5]
    assert values["prebuilt_latency_image_width"] == 512
    assert values["prebuilt_num_repetitions_for_latency_computation"] == 100
    assert values["region"] == "us-central1"
    assert values["use_prebuilt_trainer"] is False
    assert parse(LIST_TRIALS, [], program="cli")["max_trials"] == 20


def test_a_list_ends_at_the_next_flag_and_its_values_may_hold_equals_signs() -> None:
    values = read(
        "--search_docker_flags", "params_override=a.b=1,c.d=[2]", "model=x y", "--job_name=n", "--seed", "-3"
    )
    assert values["search_docker_flags"] == {"params_override": "a.b=1,c.d=[2]", "model": "x y"}
    assert (values["job_name"], values["seed"]) == ("n", -3)


def test_a_list_may_begin_behind_an_equals_sign() -> None:
    assert read("--search_docker_flags=a=1", "b=2")["search_docker_flags"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--resume"], True), (["--resume=True"], True), (["--resume", "false"], False), ([], False)],
)
def test_booleans_take_true_and_false_or_stand_alone(words: list[str], expected: bool) -> None:
    assert read(*words)["resume"] is expected


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("--max_nas_trials=3", ["unknown flag --max_nas_trials", "did you mean --max_nas_trial?"]),
        ("--xyzzy=3", ["unknown flag --xyzzy", "--help"]),
        ("--max_nas=3", ["unknown flag --max_nas"]),
        ("stray", ["found 'stray'"]),
        ("--max_nas_trial=0", ["--max_nas_trial", "found '0'", "1 or more"]),
        ("--max_parallel_nas_trial=-2", ["--max_parallel_nas_trial", "found '-2'", "1 or more"]),
        ("--max_nas_trial=ten", ["--max_nas_trial", "found 'ten'", "whole number"]),
        ("--max_nas_trial=", ["--max_nas_trial", "found ''"]),
        ("--max_nas_trial=99999999999", ["--max_nas_trial", "not that large"]),
        ("--max_nas_trial", ["--max_nas_trial"]),
        ("--use_prebuilt_trainer=Maybe", ["--use_prebuilt_trainer", "found 'Maybe'", "True or False"]),
        ("--reward_alpha=nan", ["--reward_alpha", "found 'nan'", "number"]),
        ("--reward_form=sofd", ["--reward_form", "found 'sofd'", "did you mean soft?"]),
    ],
)
def test_a_bad_flag_is_named_with_what_was_found_and_expected(word: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        read(word)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--search_docker_flags", "model"], "found 'model', expected key=value"),
        (["--search_docker_flags", "=x"], "expected key=value"),
        (["--search_docker_flags", "a=1", "a=2"], "found a twice"),
        (["--seed=1", "--seed=2"], "--seed: found twice"),
    ],
)
def test_lists_and_repeats_are_checked(words: list[str], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        read(*words)


def test_help_shows_every_flag_under_its_group_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        SEARCH,
        SEARCH_RESUME,
        LIST_TRIALS,
        SEARCH_IN_LOCAL,
        TRAIN_COMMAND,
        RUN_LATENCY,
        BUILD,
    ):
        with pytest.raises(SystemExit) as exit:
            parse(command, ["--help"], program="cli")
        assert exit.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert command.name in text
        for flag in command.flags:
            assert f"--{flag.name}" in text
            assert f"{flag.group.value}:" in text
            if flag.default not in (None, "", {}):
                assert f"[default: {flag.default}]" in text
