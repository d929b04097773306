"""One claimed task while a worker runs it: its lease is kept alive, and the order to stop heard."""

import enum
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from nas.v1 import resources_pb2, task_service_pb2, task_service_pb2_grpc

from nas_shared.rpc import RetryPolicy, call_with_retries, error_reason, is_transient

log = logging.getLogger(__name__)

CALL_TIMEOUT_SECONDS = 20.0
_PATIENT = RetryPolicy(give_up_after_seconds=None)


class StopReason(enum.Enum):
    """Why a task should stop before it is done."""

    # The trial is no longer wanted: keep nothing.
    TRIAL_STOPPED = "the trial was stopped"
    # Another worker owns the task, or nobody does: write nothing more.
    LEASE_LOST = "the lease was lost"
    # This worker ends: save a checkpoint, another worker goes on from it.
    SHUTDOWN = "the worker is shutting down"


@dataclass(frozen=True)
class Outcome:
    """What a finished task reports: finite metrics by name, at a step."""

    step: int
    metrics: Mapping[str, float]


class TaskFailed(Exception):
    """The task cannot be finished, and the handler knows why.

    Args:
      reason: a `FailureReason` of the protos.
      message: one sentence: what, found, expected.
      retryable: another worker may succeed.
      infeasible: the trial settles INFEASIBLE and does not count as failed.
    """

    def __init__(
        self,
        reason: "resources_pb2.FailureReason",
        message: str,
        *,
        retryable: bool = False,
        infeasible: bool = False,
    ):
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
        self.infeasible = infeasible


class TaskStopped(Exception):
    """The handler saw `should_stop`, saved what it could, and gives the task back."""


class TaskRun:
    """One claimed task. A thread renews the lease at every third of its length.

    Use as a context manager; leaving it ends the renewals.

    Attributes:
      task: the work, as it was claimed.
    """

    def __init__(
        self,
        stub: task_service_pb2_grpc.TaskServiceStub,
        task: task_service_pb2.Task,
        lease: task_service_pb2.Lease,
    ):
        self.task = task
        self._stub = stub
        self._token = lease.token
        self._renew_every_seconds = lease.length.ToTimedelta().total_seconds() / 3
        self._stop = threading.Event()
        self._stop_reason: StopReason | None = None
        self._ended = threading.Event()
        self._renewals = threading.Thread(target=self._renew_until_ended, name="renewals", daemon=True)

    def __enter__(self) -> "TaskRun":
        self._renewals.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewals.join(timeout=CALL_TIMEOUT_SECONDS)

    @property
    def should_stop(self) -> bool:
        """Whether the work is to end now. Costs nothing: ask at every step."""
        return self._stop.is_set()

    @property
    def stop_reason(self) -> StopReason | None:
        """Why `should_stop`; None while it is False."""
        return self._stop_reason

    @property
    def lease_token(self) -> str:
        """The secret that every write of this task quotes."""
        return self._token

    def wait_stop(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the order to stop; returns `should_stop`."""
        return self._stop.wait(timeout)

    def stop(self, reason: StopReason) -> None:
        """Asks the handler to stop. The first reason stands, but a lost lease overrides it."""
        if self._stop_reason is None or reason is StopReason.LEASE_LOST:
            self._stop_reason = reason
        self._stop.set()

    def report(self, step: int, metrics: Mapping[str, float], saved_model_dir: str = "") -> None:
        """Reports progress.

        Plain metrics are sent once and may get lost while the orchestrator is away; a SavedModel
        is reported until the orchestrator has it.

        Args:
          step: training step the metrics belong to.
          metrics: finite values by name.
          saved_model_dir: a SavedModel that can be measured from now on.
        """
        if self.should_stop:
            return
        request = task_service_pb2.ReportMeasurementRequest(
            name=self.task.name,
            lease_token=self._token,
            measurement=measurement(step, metrics),
            saved_model_dir=saved_model_dir,
        )

        def call() -> task_service_pb2.ReportMeasurementResponse:
            return self._stub.ReportMeasurement(request, timeout=CALL_TIMEOUT_SECONDS)

        try:
            answer = call_with_retries(call, _PATIENT, give_up=self._stop) if saved_model_dir else call()
        except grpc.RpcError as error:
            self._heed(error)
        else:
            if answer.stop:
                self.stop(StopReason.TRIAL_STOPPED)

    def _renew_until_ended(self) -> None:
        request = task_service_pb2.RenewLeaseRequest(name=self.task.name, lease_token=self._token)
        while not self._ended.wait(self._renew_every_seconds):
            try:
                answer = call_with_retries(
                    lambda: self._stub.RenewLease(request, timeout=CALL_TIMEOUT_SECONDS),
                    _PATIENT,
                    give_up=self._ended,
                )
            except grpc.RpcError as error:
                if not self._ended.is_set():
                    self._heed(error)
            else:
                if answer.stop:
                    self.stop(StopReason.TRIAL_STOPPED)

    def _heed(self, error: grpc.RpcError) -> None:
        """Draws the consequence of a refused call."""
        if error_reason(error) == "LEASE_LOST" or error.code() == grpc.StatusCode.NOT_FOUND:
            self.stop(StopReason.LEASE_LOST)
        elif not is_transient(error):
            log.error("%s: %s: %s", self.task.name, error.code().name, error.details())


def measurement(step: int, metrics: Mapping[str, float]) -> resources_pb2.Measurement:
    """A `Measurement` message taken now."""
    message = resources_pb2.Measurement(step=step, metrics=dict(metrics))
    message.measure_time.GetCurrentTime()
    return message
