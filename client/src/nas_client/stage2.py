"""From flags to stage 2: full training of the best trials, or of chosen ones."""

from collections.abc import Mapping

from nas.v1 import resources_pb2

from nas_client import spec
from nas_client.flags import Values
from nas_client.flags.table import STAGE_2
from nas_shared.cli import UsageError

# Flags of the trainer that belong to the reward, which stage 2 shares with the search.
_TARGETS = (spec.LATENCY_TARGET, spec.MEMORY_TARGET, spec.FLOPS_TARGET)


def of_search(values: Values) -> resources_pb2.TrainStage | None:
    """Stage 2 as the flags of `search` describe it; None when they describe none.

    Raises:
      UsageError: for flags of stage 2 without those of its trainers.
    """
    if values["train_docker_flags"]:
        return _stage(values)
    alone = [flag.name for flag in STAGE_2 if flag.name in values.given]
    if alone:
        raise UsageError(
            f"--{alone[0]}: found without --train_docker_flags, expected both: they say what stage 2 trains"
        )
    return None


def of_chosen(values: Values, job: resources_pb2.SearchJob) -> resources_pb2.TrainStage:
    """Stage 2 of the trials that the flags of `train` name, in their order.

    Raises:
      UsageError: for numbers that are none, or stand twice, or no flags of the trainers.
    """
    text = values["train_nas_trial_numbers"]
    numbers = [part.strip() for part in text.split(",") if part.strip()]
    wrong = next((part for part in numbers if not part.isdigit() or int(part) < 1), None)
    if not numbers or wrong is not None:
        raise UsageError(
            f"--train_nas_trial_numbers: found {text!r}, expected numbers of trials such as 12,40,7"
        )
    twice = next((part for part in numbers if numbers.count(part) > 1), None)
    if twice is not None:
        raise UsageError(f"--train_nas_trial_numbers: found {twice} twice, expected every trial once")
    if not values["train_docker_flags"]:
        raise UsageError("--train_docker_flags: found nothing, expected the flags of the trainers of stage 2")
    stage = _stage(values)
    stage.trials.extend(f"{job.name}/trials/{int(number)}" for number in numbers)
    return stage


def _stage(values: Values) -> resources_pb2.TrainStage:
    flags: Mapping[str, str] = {
        key: spec.resolve_path(key, value)
        for key, value in values["train_docker_flags"].items()
        if key not in _TARGETS
    }
    return resources_pb2.TrainStage(
        train=resources_pb2.TrainSpec(
            flags=flags,
            accelerator_type=values["train_accelerator_type"],
            accelerator_count=spec.accelerator_count(values, "train_"),
            program=spec.program(values),
        ),
        frequency=values.by_name.get("train_frequency") or 0,
        max_parallel_trial_count=values["train_max_parallel_trial"],
    )
