"""The story of a trial that a user's own program trains."""

import errno
import logging
import os
import signal
import time
from pathlib import Path

from nas.v1 import resources_pb2

from nas_shared.blobs import write_atomically
from nas_shared.work import Outcome, StopReason, TaskFailed, TaskRun, TaskStopped
from nas_trainer.errors import ConfigError
from nas_trainer.programs import metric_file
from nas_trainer.programs.arguments import Invocation, invocation, visible_gpus
from nas_trainer.programs.container import Container, ContainerSpec, container_name, find_engine, last_lines
from nas_trainer.programs.metric_file import MetricFile
from nas_trainer.programs.process import Ending, Execution, LocalProcess

log = logging.getLogger(__name__)

# How soon a report, or an order to stop, is noticed. The end of a program is noticed at once.
_LOOK_SECONDS = 0.2
# A worker whose parent died ends the hard way after 10 s: the program must be gone by then.
_GRACE_SECONDS = 5.0
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class ProgramHandler:
    """Runs users' programs, one trial at a time.

    Args:
        engine: `docker`, `podman` or `auto`; what programs with an image are run by.
        num_gpus: how many a program may use.
        grace_seconds: time a program has to end by itself when it is to stop.
    """

    def __init__(
        self,
        *,
        engine: str = "auto",
        num_gpus: int = 0,
        grace_seconds: float = _GRACE_SECONDS,
    ):
        self._engine = engine
        self._num_gpus = num_gpus
        self._grace_seconds = grace_seconds

    def handle(self, run: TaskRun) -> Outcome:
        """Starts the program of `run.task`, hands its reports on, and takes its last one for the result.

        Raises:
            TaskFailed: the program could not be started, failed, or left no result.
            TaskStopped: the trial is no longer wanted, or this worker ends; the program is gone.
        """
        work = run.task.train
        try:
            given = invocation(run.task, os.environ)
            metrics = MetricFile(given.metric_file, work.reward_metric)
            given.attempt_dir.mkdir(parents=True, exist_ok=True)
            given.model_dir.mkdir(exist_ok=True)
            write_atomically(given.nas_params_file, work.nas_params_str.encode())
            with self._start(run, given) as execution:
                ending = self._follow(run, execution, metrics, given.log_file)
        except ConfigError as error:
            if run.should_stop:
                raise TaskStopped from error
            raise TaskFailed(resources_pb2.INVALID_JOB, _sentence(error)) from error
        except OSError as error:
            raise _machine_failure(error, work.trial_dir) from error
        _check_ending(ending, work.spec.program, given.log_file)
        return _outcome(run, given, metrics)

    def _start(self, run: TaskRun, given: Invocation) -> Execution:
        """Starts the program in the way the job asks for."""
        work = run.task.train
        program = work.spec.program
        gpus = self._gpus(work.spec)
        if not program.image:
            if not program.command:
                raise ConfigError("program: found neither image nor command; expected at least one of them")
            variables = {**os.environ, **given.variables, "CUDA_VISIBLE_DEVICES": ",".join(gpus) or "-1"}
            return LocalProcess([*program.command, *given.arguments], variables, given.log_file)
        spec = ContainerSpec(
            image=program.image,
            command=tuple(program.command),
            name=container_name(run.task.name, run.task.attempt, given.trial_dir),
            gpus=gpus,
        )
        return Container(
            find_engine(self._engine), spec, given, given.log_file, wanted=lambda: not run.should_stop
        )

    def _gpus(self, spec: resources_pb2.TrainSpec) -> tuple[str, ...]:
        if spec.accelerator_count > self._num_gpus:
            raise ConfigError(
                f"accelerator_type: the job asks for {spec.accelerator_count} x "
                f"{spec.accelerator_type or 'GPU'}; this runner has {self._num_gpus}"
            )
        return visible_gpus(spec.accelerator_count, os.environ)

    def _follow(self, run: TaskRun, execution: Execution, metrics: MetricFile, log_file: Path) -> Ending:
        """Hands reports on until the program has ended."""
        program = run.task.train.spec.program
        limit = program.timeout.ToTimedelta().total_seconds() if program.HasField("timeout") else None
        started = time.monotonic()
        while True:
            ending = execution.wait(_LOOK_SECONDS)
            for report in metrics.news():
                if report.finite:
                    run.report(report.step, report.finite)
            if run.should_stop:
                # Whoever took the task over writes to the same model: no time for good manners then.
                lost = run.stop_reason is StopReason.LEASE_LOST
                execution.stop(0 if lost else self._grace_seconds)
                raise TaskStopped
            if ending is not None:
                return ending
            if limit and time.monotonic() - started > limit:
                execution.stop(self._grace_seconds)
                raise TaskFailed(
                    resources_pb2.TIMEOUT,
                    f"the program took longer than its {limit:g} s and was ended{_last_words(log_file)}",
                )


def _outcome(run: TaskRun, given: Invocation, metrics: MetricFile) -> Outcome:
    """The result of a program that ended well; reports its SavedModel where one is measured."""
    work = run.task.train
    try:
        report = metrics.result()
    except metric_file.OtherMetric as error:
        raise TaskFailed(
            resources_pb2.INVALID_JOB, f"the program reported another metric: {error}"
        ) from error
    except metric_file.NotFinite as error:
        infeasible = work.spec.flags.get("skip_nan_error", "").lower() == "true"
        raise TaskFailed(resources_pb2.NAN_LOSS, str(error), infeasible=infeasible) from error
    except metric_file.MetricError as error:
        raise TaskFailed(resources_pb2.INTERNAL, f"the metric file cannot be read: {error}") from error
    if report is None:
        raise TaskFailed(
            resources_pb2.INTERNAL,
            f"the program ended with exit code 0 but reported no metric; expected {work.reward_metric!r} in "
            f"{given.metric_file} (CLOUD_ML_HP_METRIC_FILE){_last_words(given.log_file)}",
        )
    if work.measured:
        if not any((given.model_dir / name).is_file() for name in _SAVED_MODEL_FILES):
            raise TaskFailed(
                resources_pb2.INVALID_MODEL,
                f"the job measures latency, but the program left no SavedModel: {given.model_dir} "
                "(AIP_MODEL_DIR) has no saved_model.pb",
            )
        run.report(report.step, {}, saved_model_dir=str(given.model_dir))
        if run.should_stop:
            raise TaskStopped
    return Outcome(report.step, report.finite)


def _check_ending(ending: Ending, program: resources_pb2.Program, log_file: Path) -> None:
    """Raises TaskFailed unless the program ended with exit code 0."""
    if ending.exit_code == 0:
        return
    if ending.start_error is not None:
        what = f"image {program.image!r}" if program.image else f"command {program.command[0]!r}"
        raise TaskFailed(
            resources_pb2.INVALID_JOB, f"the program cannot be started: {what}: {ending.start_error}"
        )
    if ending.signal is not None:
        killed = ending.signal == signal.SIGKILL
        how = (
            f"was killed by {_signal_name(ending.signal)}{' (out of memory, most likely)' if killed else ''}"
        )
        # Others may have held the memory; a crash in a library need not repeat itself either.
        reason = resources_pb2.RESOURCE_EXHAUSTED if killed else resources_pb2.INTERNAL
        raise TaskFailed(reason, f"the program {how}{_last_words(log_file)}", retryable=True)
    # It said itself that it failed: what it tells by its exit code it would tell again.
    raise TaskFailed(
        resources_pb2.INTERNAL,
        f"the program ended with exit code {ending.exit_code}{_last_words(log_file)}",
    )


def _machine_failure(error: OSError, directory: str) -> TaskFailed:
    if error.errno in _NO_ROOM:
        return TaskFailed(resources_pb2.RESOURCE_EXHAUSTED, f"no room left in {directory}; free some")
    if error.errno == errno.E2BIG:
        return TaskFailed(resources_pb2.INVALID_JOB, "the program's arguments are too long for this machine")
    return TaskFailed(
        resources_pb2.INTERNAL, f"{error.filename or directory}: {error.strerror or error}", retryable=True
    )


def _last_words(log_file: Path) -> str:
    lines = last_lines(log_file, 3)
    return f"; its last words: {' | '.join(lines)}" if lines else "; it printed nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())
