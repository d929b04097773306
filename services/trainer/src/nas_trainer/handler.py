"""The story of a trial."""

import dataclasses
import functools
import gc
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import yaml
from nas.v1 import resources_pb2, task_service_pb2
from official.core import config_definitions as cfg

from nas_shared import search_spaces
from nas_shared.work import Outcome, StopReason, TaskFailed, TaskRun, TaskStopped
from nas_trainer import retrain
from nas_trainer.data.records import DataError, check_records
from nas_trainer.devices import Devices
from nas_trainer.errors import ConfigError, DiskFull, ModelError, NanLoss
from nas_trainer.flags import TrainerFlags
from nas_trainer.training import checkpoints, experiment, tasks
from nas_trainer.training.files import write_text, writing_to
from nas_trainer.training.loop import StopTraining
from nas_trainer.training.trial import Trial, fresh_session

log = logging.getLogger(__name__)


class TrainHandler:
    """Trains the trials a worker claims, one after another in one warm process."""

    def __init__(self, devices: Devices):
        self._devices = devices
        # The million objects of the libraries live as long as the process: looking through them for
        # garbage while a network is traced takes a tenth of the start-up of every trial.
        gc.freeze()

    def handle(self, run: TaskRun) -> Outcome:
        """Turns the architecture of `run.task` into a trained SavedModel and its metrics.

        Raises:
            TaskFailed: the job, the architecture or this machine stands in the way.
            TaskStopped: the trial is no longer wanted, or this worker ends.
        """
        work = run.task.train
        clock = _Clock()
        flags = TrainerFlags()
        try:
            flags = TrainerFlags.parse(work.spec.flags)
            source = retrain.source_of(flags, work)
            params = self._prepare(flags, work, source)
            with fresh_session(params):
                return self._train(run, flags, params, source, clock)
        except StopTraining as stop:
            raise TaskStopped from stop
        except tuple(_REASONS) as error:
            raise _failure(error, skip_nan_error=flags.skip_nan_error) from error

    def _prepare(
        self, flags: TrainerFlags, work: task_service_pb2.TrainWork, source: retrain.Source
    ) -> cfg.ExperimentConfig:
        """Finds everything that is wrong with the job before any training step."""
        asked = work.spec.accelerator_count
        if asked > self._devices.num_gpus:
            raise ConfigError(
                f"accelerator_type: the job asks for {asked} x {work.spec.accelerator_type or 'GPU'}; "
                f"this trainer uses {self._devices.num_gpus} of the {self._devices.found_gpus} GPUs it finds"
            )
        search_spaces.load(work.search_space).choices(source.nas_params_str)
        params = experiment.configure(
            flags,
            search_space=work.search_space,
            nas_params_str=source.nas_params_str,
            devices=self._devices,
        )
        _check_metric(work.reward_metric, flags, params)
        check = functools.partial(
            check_records, num_classes=params.task.model.num_classes, has_boxes=flags.model == "retinanet"
        )
        check(flags.training_data_path, flag="training_data_path")
        if flags.evaluates:
            check(flags.validation_data_path, flag="validation_data_path")
        return params

    def _train(
        self,
        run: TaskRun,
        flags: TrainerFlags,
        params: cfg.ExperimentConfig,
        source: retrain.Source,
        clock: "_Clock",
    ) -> Outcome:
        work = run.task.train
        directory = Path(work.attempt_dir)
        resumed_from_step = self._open(directory, work, params, source)

        def after_step() -> None:
            clock.tick()
            if run.should_stop:
                raise StopTraining

        trial = Trial(
            params,
            directory,
            report=run.report,
            after_step=after_step,
            strategy=self._devices.build_strategy(),
            export_batch_size=flags.export_batch_size or None,
        )
        if trial.step != resumed_from_step:
            raise RuntimeError(
                f"{directory}: restored step {trial.step}, but the checkpoint is of step {resumed_from_step}"
            )
        # Not once the trial has weights of its own, of an attempt before this one.
        if flags.retrain_use_search_job_checkpoint and source.directory is not None and trial.step == 0:
            log.info("starting from %s", retrain.start_from(trial.model, source.directory))
        if work.measured and not run.should_stop:
            # The device measures while this process trains: latency does not depend on weights.
            untrained = directory / "untrained" / "saved_model"
            trial.export(untrained)
            run.report(trial.step, {}, saved_model_dir=str(untrained))
        metrics: dict[str, float] = {}
        try:
            if run.should_stop:
                raise StopTraining
            trial.train(evaluates_often=flags.multiple_eval_during_search and flags.evaluates)
            metrics |= clock.read(steps=trial.step - resumed_from_step)
            if flags.evaluates:
                metrics |= trial.evaluate()
        except StopTraining:
            if run.stop_reason is StopReason.SHUTDOWN:
                trial.save_checkpoint()
                log.info("%s: saved step %d for the next attempt", run.task.name, trial.step)
            raise
        if trial.loss is not None:
            metrics["loss"] = trial.loss
        metrics |= {key: float(value) for key, value in dataclasses.asdict(trial.size()).items()}
        trial.export(directory / "saved_model")
        metrics["resumed_from_step"] = float(resumed_from_step)
        return Outcome(trial.step, _finite(metrics))

    def _open(
        self,
        directory: Path,
        work: task_service_pb2.TrainWork,
        params: cfg.ExperimentConfig,
        source: retrain.Source,
    ) -> int:
        """Makes the attempt's directory; returns the step it goes on from."""
        with writing_to(directory):
            directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / "nas_params_str.json", source.nas_params_str)
        write_text(directory / "params.yaml", yaml.safe_dump(params.as_dict(), sort_keys=False))
        return checkpoints.adopt_newest(Path(work.trial_dir), directory)


class _Clock:
    """Times of a trial, from the claim on."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._first_step: float | None = None

    def tick(self) -> None:
        """A step is done."""
        if self._first_step is None:
            self._first_step = time.monotonic()

    def read(self, steps: int) -> dict[str, float]:
        """Times after `steps` training steps; nothing when there was none to do."""
        if self._first_step is None:
            return {}
        seconds = time.monotonic() - self._first_step
        times = {"start_up_seconds": self._first_step - self._start, "train_seconds": seconds}
        if steps > 1 and seconds > 0:
            times["train_steps_per_s"] = (steps - 1) / seconds
        return times


def _check_metric(metric: str, flags: TrainerFlags, params: cfg.ExperimentConfig) -> None:
    """A reward made of a metric nobody measures would fail every trial after its training."""
    known = {"loss", "parameters", "trainable_parameters", "multiply_adds"}
    evaluated = tasks.evaluated(params.task)
    if not metric or metric in known:
        return
    if metric in evaluated:
        if flags.evaluates:
            return
        cause = "skip_eval" if flags.skip_eval else "job_mode"
        raise ConfigError(
            f"{cause}: without evaluation there is no {metric!r}, of which the reward is made; "
            "leave the flag out"
        )
    raise ConfigError(
        f"nas_target_reward_metric: found {metric!r}; expected one of {', '.join(sorted(known | evaluated))}"
    )


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


_REASONS: dict[type[Exception], "resources_pb2.FailureReason"] = {
    # What a person must mend for the job, first; then what belongs to this trial or machine.
    ConfigError: resources_pb2.INVALID_JOB,
    DataError: resources_pb2.INVALID_JOB,
    search_spaces.SearchSpaceError: resources_pb2.INVALID_JOB,
    search_spaces.NasParamsError: resources_pb2.INVALID_MODEL,
    ModelError: resources_pb2.INVALID_MODEL,
    NanLoss: resources_pb2.NAN_LOSS,
    DiskFull: resources_pb2.RESOURCE_EXHAUSTED,
    MemoryError: resources_pb2.RESOURCE_EXHAUSTED,
    tf.errors.ResourceExhaustedError: resources_pb2.RESOURCE_EXHAUSTED,
}


def _failure(error: Exception, *, skip_nan_error: bool) -> TaskFailed:
    reason = next(reason for kind, reason in _REASONS.items() if isinstance(error, kind))
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TaskFailed(
        reason,
        message,
        infeasible=skip_nan_error and reason == resources_pb2.NAN_LOSS,
    )
