"""What a program is given: arguments, environment, directories."""

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.v1 import task_service_pb2

from nas_trainer.errors import ConfigError

LATENCY_ENDPOINT = "NAS_LATENCY_ENDPOINT"
# Linux takes 128 KiB per argument.
_LONGEST_ARGUMENT_BYTES = 100_000
_MODEL_DIR = "model"
_METRIC_FILE = "metrics.jsonl"
_NAS_PARAMS_FILE = "nas_params_str.json"
_OURS = ("nas_params_str", "job-dir")


@dataclass(frozen=True)
class Invocation:
    """One attempt of a program at a trial.

    Attributes:
        arguments: what follows the command.
        variables: environment variables that the contract promises.
        trial_dir: directory of the trial; `--job-dir`.
        attempt_dir: directory of the attempt; published when the attempt wins.
        inputs: files and directories of this machine that the arguments name.
    """

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    trial_dir: Path
    attempt_dir: Path
    inputs: tuple[Path, ...]

    @property
    def model_dir(self) -> Path:
        """Where the program leaves its SavedModel; AIP_MODEL_DIR."""
        return self.trial_dir / _MODEL_DIR

    @property
    def metric_file(self) -> Path:
        """Where the program reports. Of the attempt: what a lost one said counts for nothing."""
        return self.attempt_dir / _METRIC_FILE

    @property
    def log_file(self) -> Path:
        """What the program prints."""
        return self.attempt_dir / "program.log"

    @property
    def nas_params_file(self) -> Path:
        """The architecture, as every trial keeps it."""
        return self.attempt_dir / _NAS_PARAMS_FILE


def invocation(task: task_service_pb2.Task, environment: Mapping[str, str]) -> Invocation:
    """What the attempt `task` is run with.

    Args:
        task: a TRAIN task as it was claimed.
        environment: that of the runner; the latency endpoint is handed on.
    Raises:
        ConfigError: if the job writes no files, or its flags hide the runner's.
    """
    work = task.train
    if not work.trial_dir:
        raise ConfigError(
            "root_output_dir: found none; a program needs a directory for its model and its metric file"
        )
    for name in _OURS:
        if name in work.spec.flags:
            raise ConfigError(f"{name}: every trial gets its own; leave the flag out")
    trial_dir, attempt_dir = Path(work.trial_dir), Path(work.attempt_dir)
    architecture = work.nas_params_str
    if len(architecture.encode()) > _LONGEST_ARGUMENT_BYTES:
        architecture = str(attempt_dir / _NAS_PARAMS_FILE)
    flags = sorted(work.spec.flags.items())
    variables = {
        "CLOUD_ML_JOB_ID": task.name.split("/")[1],
        "CLOUD_ML_TRIAL_ID": str(work.trial_number),
        "CLOUD_ML_HP_METRIC_TAG": work.reward_metric,
        "CLOUD_ML_HP_METRIC_FILE": str(attempt_dir / _METRIC_FILE),
        "AIP_MODEL_DIR": str(trial_dir / _MODEL_DIR),
    }
    if LATENCY_ENDPOINT in environment:
        variables[LATENCY_ENDPOINT] = environment[LATENCY_ENDPOINT]
    return Invocation(
        arguments=(
            f"--nas_params_str={architecture}",
            *(f"--{name}={value}" for name, value in flags),
            f"--job-dir={trial_dir}",
        ),
        variables=variables,
        trial_dir=trial_dir,
        attempt_dir=attempt_dir,
        inputs=_inputs(value for _, value in flags),
    )


def visible_gpus(count: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The `count` GPUs of this runner, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        ConfigError: if this runner was given fewer.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return tuple(str(gpu) for gpu in range(count))
    given = [gpu.strip() for gpu in listed.split(",") if gpu.strip() not in ("", "-1")]
    if len(given) < count:
        raise ConfigError(
            f"--num_gpus={count}: found CUDA_VISIBLE_DEVICES={listed}; expected {count} or more"
        )
    return tuple(given[:count])


def _inputs(values: Iterable[str]) -> tuple[Path, ...]:
    """Files and directories of this machine among flag values: paths, globs, and lists of them."""
    found: dict[Path, None] = {}
    for value in values:
        for part in value.split(","):
            if part.startswith("/") and glob.glob(part):
                path = Path(part)
                while glob.has_magic(str(path)):
                    path = path.parent
                # The root is in every container already, and would hide all of it.
                if path != Path("/"):
                    found[Path(os.path.abspath(path))] = None
    return tuple(found)
