"""The flags a job hands to its trainers (`search_docker_flags`), as one typed value."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping

from nas_trainer.errors import ConfigError

MODELS = ("classification", "retinanet")
JOB_MODES = ("train", "train_and_eval")


@dataclasses.dataclass(frozen=True)
class TrainerFlags:
    """What every trial of a job has in common.

    Attributes:
        training_data_path: TFRecord globs, separated by commas. Required.
        validation_data_path: the same, for evaluation. Required unless nothing is evaluated.
        params_override: a YAML file, the base name of a shipped one, or `a.b=c,d.e=f`.
        model: kind of task, one of `MODELS`.
        search_space: must be the job's, if given.
        target_device_latency_ms: read by the orchestrator, which makes the reward.
        target_memory_mb: as above.
        target_flops_multi_adds_billion: as above; excludes a latency target.
        job_mode: `train` trains and exports without evaluating.
        skip_eval: the same as `job_mode=train`.
        skip_nan_error: a NaN loss makes the trial infeasible instead of failed.
        multiple_eval_during_search: evaluate every `trainer.validation_interval` steps, not only
            at the end.
        export_batch_size: images per inference of the SavedModels; 0 leaves it open.
        retrain_search_job_dir: directory of an earlier search, whose trials are trained instead of the
            architectures of this job.
        retrain_search_job_trials: numbers of those trials, separated by commas; trial k of this job takes
            the k-th.
        retrain_use_search_job_checkpoint: start from the weights of the search trial.
    """

    training_data_path: str = ""
    validation_data_path: str = ""
    params_override: str = ""
    model: str = "classification"
    search_space: str = ""
    target_device_latency_ms: float | None = None
    target_memory_mb: float | None = None
    target_flops_multi_adds_billion: float | None = None
    job_mode: str = "train_and_eval"
    skip_eval: bool = False
    skip_nan_error: bool = False
    multiple_eval_during_search: bool = False
    export_batch_size: int = 1
    retrain_search_job_dir: str = ""
    retrain_search_job_trials: str = ""
    retrain_use_search_job_checkpoint: bool = False

    @property
    def retrain_trial_numbers(self) -> tuple[int, ...]:
        """`retrain_search_job_trials` as numbers."""
        return tuple(int(part) for part in self.retrain_search_job_trials.split(",") if part.strip())

    @property
    def evaluates(self) -> bool:
        """Whether the trained model is evaluated."""
        return self.job_mode == "train_and_eval" and not self.skip_eval

    @classmethod
    def parse(cls, flags: Mapping[str, str]) -> "TrainerFlags":
        """Reads `name -> text` as it stands in a job.

        Raises:
            ConfigError: naming the flag, what was found and what was expected.
        """
        kinds = typing.get_type_hints(cls)
        for name in flags:
            if name not in kinds:
                raise ConfigError(f"{name}: unknown trainer flag; known are {', '.join(sorted(kinds))}")
        values: dict[str, typing.Any] = {
            name: _value(name, text, kinds[name]) for name, text in flags.items()
        }
        parsed = cls(**values)
        parsed._check()
        return parsed

    def _check(self) -> None:
        if self.model not in MODELS:
            raise ConfigError(f"model: found {self.model!r}; expected one of {', '.join(MODELS)}")
        if self.job_mode not in JOB_MODES:
            raise ConfigError(f"job_mode: found {self.job_mode!r}; expected one of {', '.join(JOB_MODES)}")
        for name in ("training_data_path", "validation_data_path"):
            if not getattr(self, name) and (name == "training_data_path" or self.evaluates):
                raise ConfigError(f"{name}: missing; expected TFRecord files or globs")
        targets = ("target_device_latency_ms", "target_memory_mb", "target_flops_multi_adds_billion")
        for name in targets:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}: found {value:g}; expected a number above 0")
        if self.target_device_latency_ms and self.target_flops_multi_adds_billion:
            raise ConfigError(
                "target_device_latency_ms and target_flops_multi_adds_billion exclude each other; found both"
            )
        if bool(self.retrain_search_job_dir) != bool(self.retrain_search_job_trials):
            raise ConfigError(
                f"retrain_search_job_dir: found {self.retrain_search_job_dir!r} with "
                f"retrain_search_job_trials {self.retrain_search_job_trials!r}; expected both or none"
            )
        parts = [part.strip() for part in self.retrain_search_job_trials.split(",") if part.strip()]
        wrong = next((part for part in parts if not part.isdigit() or int(part) < 1), None)
        if wrong is not None:
            raise ConfigError(
                f"retrain_search_job_trials: found {wrong!r}; expected numbers of trials such as 12,40,7"
            )
        if self.export_batch_size < 0:
            raise ConfigError(f"export_batch_size: found {self.export_batch_size}; expected 0 or more")


def _value(name: str, text: str, kind: object) -> object:
    """`text` as the type the flag has."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ConfigError(f"{name}: found {text!r}; expected True or False")
    try:
        number = int(text) if kind is int else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        expected = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name}: found {text!r}; expected {expected}")
    return number
