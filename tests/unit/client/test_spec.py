"""From flags to a search job."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nas.v1 import resources_pb2

from nas_client import spec, stage2
from nas_client.flags import SEARCH, SEARCH_RESUME, TRAIN_COMMAND, Values, parse
from nas_shared.cli import CommandError, UsageError

Reads = Callable[..., Values]
MEASURED = ("--target_device_type=CPU", "--use_prebuilt_latency_calculator=True")


def test_a_plain_search_has_the_defaults_of_the_contract(search_values: Reads, tmp_path: Path) -> None:
    job = spec.search_job(search_values())
    assert job.display_name == "mnasnet"
    assert job.spec.search_space == "mnasnet"
    assert job.spec.root_output_dir == str(tmp_path / "out")
    assert job.spec.reward.metric == "top_1_accuracy"
    assert job.spec.algorithm.kind == resources_pb2.Algorithm.REGULARIZED_EVOLUTION
    assert job.spec.limits.max_trial_count == 5
    assert not job.spec.HasField("measure")
    assert job.spec.train.accelerator_type == ""
    assert job.spec.train.accelerator_count == 0


def test_targets_become_the_reward_and_leave_the_trainers_flags(search_values: Reads) -> None:
    values = search_values(
        *MEASURED, "--search_docker_flags", "model=classification", "target_device_latency_ms=50",
        "target_memory_mb=20.5",
    )  # fmt: skip
    job = spec.search_job(values)
    assert dict(job.spec.train.flags) == {"model": "classification"}
    assert job.spec.reward.latency_ms == resources_pb2.Target(value=50, form=resources_pb2.Target.SOFT)
    assert job.spec.reward.memory_mb.value == 20.5
    assert not job.spec.reward.HasField("multiply_adds_billion")
    assert job.spec.measure.device_type == "CPU"
    assert job.spec.measure.options.image_width == 512
    assert job.spec.measure.options.repetitions == 100


def test_a_flops_target_needs_no_measuring(search_values: Reads) -> None:
    job = spec.search_job(
        search_values("--search_docker_flags", "target_flops_multi_adds_billion=0.3", "--reward_form=HARD")
    )
    target = resources_pb2.Target(value=0.3, form=resources_pb2.Target.HARD)
    assert job.spec.reward.multiply_adds_billion == target
    assert not job.spec.HasField("measure")


def test_exponents_take_alpha_and_beta(search_values: Reads) -> None:
    job = spec.search_job(
        search_values(
            "--reward_form=exponents", "--reward_alpha=0", "--reward_beta=0.5",
            "--search_docker_flags", "target_flops_multi_adds_billion=1",
        )
    )  # fmt: skip
    target = job.spec.reward.multiply_adds_billion
    assert (target.form, target.alpha, target.beta) == (resources_pb2.Target.EXPONENTS, 0.0, 0.5)


def test_detection_is_rewarded_for_ap_unless_told_otherwise(search_values: Reads) -> None:
    flags = ("--search_docker_flags", "model=retinanet")
    assert spec.search_job(search_values(*flags)).spec.reward.metric == "AP"
    named = search_values("--nas_target_reward_metric=AP50", *flags)
    assert spec.search_job(named).spec.reward.metric == "AP50"


def test_local_paths_become_absolute_and_everything_else_passes_unchanged(
    search_values: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    resolve = spec.resolve_path
    assert resolve("params_override", "mine.yaml") == str(tmp_path / "mine.yaml")
    assert resolve("params_override", "tf_vision/shipped.yaml") == "tf_vision/shipped.yaml"
    assert resolve("params_override", "a.b=1,c.d=2") == "a.b=1,c.d=2"
    assert resolve("training_data_path", "d/a*, gs://b/c*") == f"{tmp_path}/d/a*,gs://b/c*"
    assert resolve("model", "mine.yaml") == "mine.yaml"


def test_a_relative_output_directory_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = parse(SEARCH, ["--prebuilt_search_space=mnasnet", "--root_output_dir=runs/a"], program="cli")
    assert spec.search_job(values).spec.root_output_dir == str(tmp_path / "runs" / "a")


def test_a_dotted_search_space_module_gets_its_colon(tmp_path: Path) -> None:
    values = parse(
        SEARCH, ["--search_space_module=mine.spaces.tiny", f"--root_output_dir={tmp_path}"], program="cli"
    )
    job = spec.search_job(values)
    assert job.spec.search_space == "mine.spaces:tiny"
    assert job.display_name == "mine.spaces_tiny"


def test_accelerators_count_one_unless_told(search_values: Reads) -> None:
    job = spec.search_job(search_values("--accelerator_type=NVIDIA_TESLA_T4"))
    assert job.spec.train.accelerator_count == 1
    job = spec.search_job(search_values("--accelerator_type=NVIDIA_TESLA_T4", "--num_gpus=2"))
    assert job.spec.train.accelerator_count == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            ["--search_docker_flags", "target_device_latency_ms=5", "target_flops_multi_adds_billion=1"],
            "at most one",
        ),
        (["--search_docker_flags", "target_device_latency_ms=5"], "target_device_latency_ms: found a target"),
        (["--search_docker_flags", "target_memory_mb=5"], "target_memory_mb: found a target that nothing"),
        ([*MEASURED, "--search_docker_flags", "target_memory_mb=-5"], "target_memory_mb: found '-5'"),
        ([*MEASURED, "--search_docker_flags", "target_device_latency_ms=inf"], "greater than 0"),
        (["--target_device_type=CPU"], "--use_prebuilt_latency_calculator=True"),
        (["--use_prebuilt_latency_calculator=True"], "--target_device_type"),
        (["--run_local_binary=True"], "--run_local_binary: found True with --local_binary=''"),
        (["--run_local_binary=True", "--local_binary=no/such"], "--local_binary: found no/such"),
        (["--use_prebuilt_trainer=False"], "--use_prebuilt_trainer"),
        (["--search_space_module=a.b:c"], "found both"),
        (["--job_name=two words"], "--job_name: found 'two words'"),
        (["--job_name="], "--job_name: found ''"),
        (["--algorithm=REINFORCEMENT_LEARNING"], "REINFORCEMENT_LEARNING, which is not in this version yet"),
        (["--algorithm=grid_search"], "GRID_SEARCH, which is not in this version yet"),
        (["--population_size=5"], "--tournament_size: found 10, expected at most --population_size=5"),
        (["--num_gpus=1"], "--num_gpus: found 1 without"),
        (["--num_gpus=0", "--accelerator_type=T"], "--num_gpus: found 0"),
        (["--reward_alpha=1"], "expected only with --reward_form=exponents"),
        (["--reward_form=exponents", "--reward_alpha=1"], "--reward_beta: found nothing"),
        (["--nas_target_reward_metric="], "--nas_target_reward_metric"),
    ],
)
def test_flags_that_contradict_each_other_are_named(
    search_values: Reads, words: list[str], part: str
) -> None:
    with pytest.raises(UsageError) as error:
        spec.search_job(search_values(*words))
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--root_output_dir=x"], "--prebuilt_search_space: found nothing"),
        (["--prebuilt_search_space=mnasnet"], "--root_output_dir: found nothing"),
        (["--prebuilt_search_space=mnasnet", "--root_output_dir=gs://b"], "found gs://b, expected a local"),
        (["--search_space_module=nodots", "--root_output_dir=x"], "package.module:attribute"),
    ],
)
def test_what_a_search_needs_is_asked_for(words: list[str], part: str) -> None:
    with pytest.raises(UsageError) as error:
        spec.search_job(parse(SEARCH, words, program="cli"))
    assert part in str(error.value)


def test_a_resume_keeps_the_limits_it_is_not_told() -> None:
    job_limits = resources_pb2.Limits(max_trial_count=9, max_parallel_trial_count=3, max_failed_trial_count=2)
    told = parse(SEARCH_RESUME, ["--max_nas_trial=20"], program="cli")
    limits = spec.limits(told, job_limits)
    assert limits == resources_pb2.Limits(
        max_trial_count=20, max_parallel_trial_count=3, max_failed_trial_count=2
    )


def test_a_data_path_that_matches_nothing_is_found_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "train-0.tfrecord").write_bytes(b"")
    spec.check_data_paths({"training_data_path": f"{tmp_path}/train*", "model": "x"})
    spec.check_data_paths({"training_data_path": "gs://somewhere/train*"})
    with pytest.raises(CommandError, match=r"validation_data_path: found no file matching .*/val\*"):
        spec.check_data_paths(
            {"training_data_path": f"{tmp_path}/train*", "validation_data_path": f"{tmp_path}/val*"}
        )


def test_stage_2_is_described_by_the_flags_of_its_trainers(search_values: Reads) -> None:
    values = search_values(
        "--train_frequency=25",
        "--train_max_parallel_trial=2",
        "--train_docker_flags",
        "model=classification",
        "training_data_path=a*",
        "target_device_latency_ms=5",
    )
    stage = spec.search_job(values, stage2.of_search(values)).spec.train_stage
    assert (stage.frequency, stage.max_parallel_trial_count) == (25, 2)
    # The target is the search's, and no flag of a trainer.
    assert dict(stage.train.flags) == {"model": "classification", "training_data_path": os.path.abspath("a*")}


def test_a_search_without_flags_of_stage_2_has_none(search_values: Reads) -> None:
    values = search_values()
    assert stage2.of_search(values) is None
    assert not spec.search_job(values, None).spec.HasField("train_stage")


@pytest.mark.parametrize(
    ("text", "part"),
    [("", "found ''"), ("1,x", "found '1,x'"), ("0", "found '0'"), ("3,1,3", "found 3 twice")],
)
def test_numbers_of_trials_to_train_are_checked(text: str, part: str) -> None:
    values = parse(
        TRAIN_COMMAND, [f"--train_nas_trial_numbers={text}", "--train_docker_flags", "a=1"], program="cli"
    )
    with pytest.raises(UsageError, match=f"--train_nas_trial_numbers: {part}"):
        stage2.of_chosen(values, resources_pb2.SearchJob(name="searchJobs/7"))


def test_chosen_trials_are_named_in_their_order() -> None:
    values = parse(
        TRAIN_COMMAND, ["--train_nas_trial_numbers=12,40,7", "--train_docker_flags", "a=1"], program="cli"
    )
    stage = stage2.of_chosen(values, resources_pb2.SearchJob(name="searchJobs/7"))
    assert list(stage.trials) == [f"searchJobs/7/trials/{number}" for number in (12, 40, 7)]


def test_a_trainer_of_ones_own_is_an_image_or_a_program(search_values: Reads, tmp_path: Path) -> None:
    image = spec.search_job(search_values("--trainer_docker_id=mine", "--trial_timeout_seconds=1.5"))
    assert image.spec.train.program.image == "mine"
    assert image.spec.train.program.timeout.ToMilliseconds() == 1500
    script = tmp_path / "train.py"
    script.write_text("")
    binary = spec.search_job(
        search_values("--run_local_binary=True", f"--local_binary={script}", "--local_binary_flags", "a=1")
    )
    assert list(binary.spec.train.program.command) == [sys.executable, str(script), "--a=1"]
    prebuilt = spec.search_job(search_values("--trainer_docker_id=mine", "--use_prebuilt_trainer=True"))
    assert not prebuilt.spec.train.HasField("program")
