"""From flags to the search job they describe, and which of them contradict each other."""

import glob
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from nas.v1 import resources_pb2

from nas_client.flags import Values
from nas_client.flags.table import VERTEX_ALGORITHMS
from nas_shared.cli import CommandError, UsageError

# Keys of search_docker_flags that become targets of the reward instead of flags of the trainer.
LATENCY_TARGET = "target_device_latency_ms"
MEMORY_TARGET = "target_memory_mb"
FLOPS_TARGET = "target_flops_multi_adds_billion"
DATA_PATHS = ("training_data_path", "validation_data_path")

_DISPLAY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_FORMS = {
    "soft": resources_pb2.Target.SOFT,
    "hard": resources_pb2.Target.HARD,
    "exponents": resources_pb2.Target.EXPONENTS,
}


def search_job(
    values: Values, train_stage: resources_pb2.TrainStage | None = None
) -> resources_pb2.SearchJob:
    """The job that the flags of `search` describe.

    Raises:
      UsageError: for flags that are missing, out of range or contradict each other.
    """
    trainer_flags = dict(values["search_docker_flags"])
    reward = _reward(values, trainer_flags)
    measure = measure_spec(values)
    if measure is None:
        _check_unmeasured(reward)
    root = values["root_output_dir"]
    if not root:
        raise UsageError("--root_output_dir: found nothing, expected the directory the search may write in")
    spec = resources_pb2.SearchJobSpec(
        search_space=_search_space(values),
        algorithm=_algorithm(values),
        reward=reward,
        limits=limits(values),
        train=resources_pb2.TrainSpec(
            flags={key: resolve_path(key, value) for key, value in trainer_flags.items()},
            accelerator_type=values["accelerator_type"],
            accelerator_count=accelerator_count(values),
            program=program(values),
        ),
        measure=measure,
        root_output_dir=local_directory("root_output_dir", root),
        train_stage=train_stage,
    )
    return resources_pb2.SearchJob(display_name=display_name(values), spec=spec)


def limits(values: Values, otherwise: resources_pb2.Limits | None = None) -> resources_pb2.Limits:
    """The limits the flags set; a flag that has neither value nor default is taken from `otherwise`."""
    base = otherwise or resources_pb2.Limits()
    return resources_pb2.Limits(
        max_trial_count=values["max_nas_trial"] or base.max_trial_count,
        max_parallel_trial_count=values["max_parallel_nas_trial"] or base.max_parallel_trial_count,
        max_failed_trial_count=values["max_failed_nas_trial"] or base.max_failed_trial_count,
    )


def local_directory(flag: str, path: str) -> str:
    """`path` as an absolute local path.

    Raises:
      UsageError: for `gs://…` and other remote places.
    """
    if "://" in path:
        raise UsageError(f"--{flag}: found {path}, expected a local path; others are not in this version")
    return str(Path(path).expanduser().absolute())


def resolve_path(key: str, value: str) -> str:
    """What the workers get for a trainer flag: relative local paths become absolute.

    Data paths may be comma-separated globs. A `params_override` that is no file here passes unchanged: it is
    an inline `a.b=c` list, or the name of a file the trainer ships.
    """
    if key in DATA_PATHS:
        return ",".join(_absolute(pattern.strip()) for pattern in value.split(",") if pattern.strip())
    if key == "params_override" and Path(value).expanduser().is_file():
        return _absolute(value)
    return value


def check_data_paths(flags: Mapping[str, str], flag: str = "search_docker_flags") -> None:
    """Sees that every local data path in `flag` matches a file, before workers are started for it.

    Raises:
      CommandError: naming the flag and the pattern.
    """
    for key in DATA_PATHS:
        for pattern in flags.get(key, "").split(","):
            if pattern and "://" not in pattern and not glob.glob(pattern):
                raise CommandError(
                    f"--{flag} {key}: found no file matching {pattern}, expected TFRecord "
                    "files; `prepare_data` makes some"
                )


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def program(values: Values) -> resources_pb2.Program | None:
    """The user's own trainer; None for the prebuilt one.

    Raises:
      UsageError: when the flags name none, or both an image and a binary.
    """
    if values["use_prebuilt_trainer"]:
        return None
    image, binary = values["trainer_docker_id"], values["local_binary"]
    if values["run_local_binary"] != bool(binary):
        raise UsageError(
            f"--run_local_binary: found {values['run_local_binary']} with --local_binary={binary!r}, "
            "expected both or none"
        )
    if not image and not binary:
        if "use_prebuilt_trainer" in values.given:
            raise UsageError(
                "--use_prebuilt_trainer: found False without a trainer of your own, expected "
                "--trainer_docker_id, or --run_local_binary=True --local_binary"
            )
        return None
    found = resources_pb2.Program()
    if binary:
        found.command.extend(_command(binary, values["local_binary_flags"]))
    else:
        found.image = image
    if values["trial_timeout_seconds"]:
        found.timeout.FromMilliseconds(round(values["trial_timeout_seconds"] * 1000))
    return found


def _command(binary: str, flags: Mapping[str, str]) -> list[str]:
    path = Path(binary).expanduser()
    name = str(path.absolute()) if path.exists() else shutil.which(binary)
    if name is None:
        raise UsageError(f"--local_binary: found {binary}, expected a program that exists")
    interpreter = [sys.executable] if name.endswith(".py") else []
    return [*interpreter, name, *(f"--{key}={value}" for key, value in flags.items())]


def _search_space(values: Values) -> str:
    prebuilt, own = values["prebuilt_search_space"], values["search_space_module"]
    if prebuilt and own:
        raise UsageError(
            f"--prebuilt_search_space={prebuilt} and --search_space_module={own}: found both, expected one"
        )
    if not prebuilt and not own:
        raise UsageError("--prebuilt_search_space: found nothing, expected a search space, e.g. mnasnet")
    if own and ":" not in own:
        module, dot, attribute = own.rpartition(".")
        if not dot or not module:
            raise UsageError(f"--search_space_module: found {own!r}, expected package.module:attribute")
        own = f"{module}:{attribute}"
    return str(prebuilt or own)


def is_display_name(name: str) -> bool:
    """Whether a job may be called so."""
    return _DISPLAY_NAME.fullmatch(name) is not None


def display_name(values: Values) -> str:
    """The name of the job that the flags of `search` describe."""
    name = values["job_name"]
    if name is None:
        return re.sub(r"[^A-Za-z0-9_.-]", "_", _search_space(values))[:128]
    if not is_display_name(name):
        raise UsageError(f"--job_name: found {name!r}, expected 1 to 128 letters, digits, '_', '.' or '-'")
    return str(name)


def _algorithm(values: Values) -> resources_pb2.Algorithm:
    name = values["algorithm"]
    if name in VERTEX_ALGORITHMS:
        raise UsageError(
            f"--algorithm: found {name}, which is not in this version yet; "
            "expected REGULARIZED_EVOLUTION or RANDOM"
        )
    population, tournament = values["population_size"], values["tournament_size"]
    if tournament > population:
        raise UsageError(
            f"--tournament_size: found {tournament}, expected at most --population_size={population}"
        )
    return resources_pb2.Algorithm(
        kind=name,
        seed=values["seed"],
        population_size=population,
        tournament_size=tournament,
    )


def accelerator_count(values: Values, prefix: str = "") -> int:
    """Accelerators per trial; `prefix` is `train_` for those of stage 2.

    Raises:
      UsageError: for a count without a type, or the other way round.
    """
    kind, count = values[f"{prefix}accelerator_type"], values[f"{prefix}num_gpus"]
    if not kind:
        if count:
            raise UsageError(
                f"--{prefix}num_gpus: found {count} without --{prefix}accelerator_type, expected both"
            )
        return 0
    if count == 0:
        raise UsageError(
            f"--{prefix}num_gpus: found 0 with --{prefix}accelerator_type={kind}, expected 1 or more"
        )
    return int(count or 1)


def _reward(values: Values, trainer_flags: dict[str, str]) -> resources_pb2.RewardSpec:
    """Takes the targets out of `trainer_flags`."""
    metric = values["nas_target_reward_metric"]
    if metric == "":
        raise UsageError("--nas_target_reward_metric: found nothing, expected a metric, e.g. top_1_accuracy")
    if metric is None:
        metric = "AP" if trainer_flags.get("model") == "retinanet" else "top_1_accuracy"
    if LATENCY_TARGET in trainer_flags and FLOPS_TARGET in trainer_flags:
        raise UsageError(
            f"--search_docker_flags: found {LATENCY_TARGET} and {FLOPS_TARGET}, expected at most one of them"
        )
    _check_exponents(values)
    return resources_pb2.RewardSpec(
        metric=metric,
        latency_ms=_target(values, trainer_flags, LATENCY_TARGET),
        memory_mb=_target(values, trainer_flags, MEMORY_TARGET),
        multiply_adds_billion=_target(values, trainer_flags, FLOPS_TARGET),
    )


def _check_exponents(values: Values) -> None:
    exponents = values["reward_form"] == "exponents"
    for name in ("reward_alpha", "reward_beta"):
        if exponents and values[name] is None:
            raise UsageError(f"--{name}: found nothing, expected a number: --reward_form=exponents needs it")
        if not exponents and values[name] is not None:
            raise UsageError(
                f"--{name}={values[name]}: found with --reward_form={values['reward_form']}, "
                "expected only with --reward_form=exponents"
            )


def _target(values: Values, trainer_flags: dict[str, str], key: str) -> resources_pb2.Target | None:
    text = trainer_flags.pop(key, None)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UsageError(f"--search_docker_flags {key}: found {text!r}, expected a number greater than 0")
    return resources_pb2.Target(
        value=number,
        form=_FORMS[values["reward_form"]],
        alpha=values["reward_alpha"] or 0.0,
        beta=values["reward_beta"] or 0.0,
    )


def measure_spec(values: Values) -> resources_pb2.MeasureSpec | None:
    device, prebuilt = values["target_device_type"], values["use_prebuilt_latency_calculator"]
    if prebuilt and not device:
        raise UsageError("--target_device_type: found nothing, expected the device to measure on, e.g. CPU")
    if device and not prebuilt:
        raise UsageError(
            f"--target_device_type={device}: found without --use_prebuilt_latency_calculator=True, "
            "expected both; latency calculators of your own are not in this version"
        )
    if not device:
        return None
    return resources_pb2.MeasureSpec(
        device_type=device,
        options=resources_pb2.MeasureOptions(
            image_width=values["prebuilt_latency_image_width"],
            image_height=values["prebuilt_latency_image_height"],
            repetitions=values["prebuilt_num_repetitions_for_latency_computation"],
        ),
    )


def _check_unmeasured(reward: resources_pb2.RewardSpec) -> None:
    for field, key in (("latency_ms", LATENCY_TARGET), ("memory_mb", MEMORY_TARGET)):
        if reward.HasField(field):
            raise UsageError(
                f"--search_docker_flags {key}: found a target that nothing measures, expected also "
                "--target_device_type=CPU --use_prebuilt_latency_calculator=True"
            )
