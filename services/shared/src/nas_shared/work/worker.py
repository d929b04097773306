"""The loop of a worker: claim a task, run it under its lease, settle it, claim the next."""

import logging
import signal
import threading
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import grpc
from google.protobuf import duration_pb2
from nas.v1 import resources_pb2, task_service_pb2, task_service_pb2_grpc

from nas_shared.rpc import RetryPolicy, call_with_retries, connect, is_transient
from nas_shared.work.run import (
    CALL_TIMEOUT_SECONDS,
    Outcome,
    StopReason,
    TaskFailed,
    TaskRun,
    TaskStopped,
    measurement,
)

log = logging.getLogger(__name__)

CLAIM_WAIT_SECONDS = 30


class Handler(Protocol):
    """What a worker does with a task."""

    def handle(self, run: TaskRun) -> Outcome:
        """Does the work of `run.task`.

        Raises:
          TaskFailed: the work cannot be done, for a reason the handler knows.
          TaskStopped: `run.should_stop` came true.
          Exception: anything else is reported as INTERNAL; another worker may try.
        """


class Worker:
    """Claims tasks of one kind from an orchestrator and has a handler do them, one at a time.

    Args:
      target: `host:port` of the orchestrator.
      worker_id: name of this worker, unique among those running.
      kind: TRAIN or MEASURE.
      device_type: TRAIN: accelerator offered, "" for CPU. MEASURE: the device type.
      handler: does the work.
      token: bearer token, where the orchestrator asks for one.
      max_tasks: ends after so many tasks; None: never.
      should_recycle: asked between tasks; True ends the worker so that a fresh process takes over.
    """

    def __init__(
        self,
        target: str,
        *,
        worker_id: str,
        kind: "task_service_pb2.Task.Kind",
        device_type: str,
        handler: Handler,
        token: str | None = None,
        max_tasks: int | None = None,
        should_recycle: Callable[[], bool] | None = None,
    ):
        self._stub = task_service_pb2_grpc.TaskServiceStub(connect(target, token))
        self._target = target
        self._worker_id = worker_id
        self._kind = kind
        self._device_type = device_type
        self._handler = handler
        self._max_tasks = max_tasks
        self._should_recycle = should_recycle or (lambda: False)
        self._shutdown = threading.Event()
        self._current: TaskRun | None = None
        self._claiming: grpc.Future | None = None

    def run(self) -> int:
        """Works until SIGTERM, SIGINT, `max_tasks` or recycling; returns the exit code, 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
        log.info("%s takes tasks from %s", self._worker_id, self._target)
        done = 0
        while not self._shutdown.is_set():
            if (self._max_tasks is not None and done >= self._max_tasks) or (done and self._should_recycle()):
                log.info("%s recycles after %d tasks", self._worker_id, done)
                break
            claim = self._claim()
            if claim is not None and claim.HasField("task"):
                self._work(claim)
                done += 1
        return 0

    def shut_down(self) -> None:
        """Ends the loop: a waiting claim is dropped, running work is asked to stop."""
        self._shutdown.set()
        if self._current is not None:
            self._current.stop(StopReason.SHUTDOWN)
        if self._claiming is not None:
            self._claiming.cancel()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        log.info("%s got %s", self._worker_id, signal.Signals(signum).name)
        self.shut_down()

    def _claim(self) -> task_service_pb2.ClaimTaskResponse | None:
        request = task_service_pb2.ClaimTaskRequest(
            worker_id=self._worker_id,
            request_id=str(uuid.uuid4()),
            kind=self._kind,
            device_type=self._device_type,
            wait=duration_pb2.Duration(seconds=CLAIM_WAIT_SECONDS),
        )

        def call() -> task_service_pb2.ClaimTaskResponse:
            self._claiming = self._stub.ClaimTask.future(
                request, timeout=CLAIM_WAIT_SECONDS + CALL_TIMEOUT_SECONDS
            )
            return self._claiming.result()

        try:
            return call_with_retries(call, RetryPolicy(give_up_after_seconds=None), give_up=self._shutdown)
        except grpc.FutureCancelledError:
            return None
        except grpc.RpcError:
            if self._shutdown.is_set():
                return None
            raise
        finally:
            self._claiming = None

    def _work(self, claim: task_service_pb2.ClaimTaskResponse) -> None:
        with TaskRun(self._stub, claim.task, claim.lease) as run:
            self._current = run
            if self._shutdown.is_set():
                run.stop(StopReason.SHUTDOWN)
            log.info("%s: attempt %d starts", run.task.name, run.task.attempt)
            try:
                settle = self._do(run)
            finally:
                self._current = None
            if run.stop_reason is StopReason.LEASE_LOST:
                log.warning("%s: lease lost, the work is dropped", run.task.name)
                return
            self._settle(run, settle)

    def _do(self, run: TaskRun) -> Callable[[], object]:
        """Runs the handler; returns the call that settles the task."""
        name, token = run.task.name, run.lease_token
        try:
            outcome = self._handler.handle(run)
        except TaskStopped:
            log.info("%s: stops, %s", run.task.name, run.stop_reason and run.stop_reason.value)
            released = task_service_pb2.ReleaseTaskRequest(name=name, lease_token=token)
            return lambda: self._stub.ReleaseTask(released, timeout=CALL_TIMEOUT_SECONDS)
        except TaskFailed as failure:
            log.error("%s: failed: %s", run.task.name, failure.message)
            log.debug("%s", run.task.name, exc_info=True)
            failed = task_service_pb2.FailTaskRequest(
                name=name,
                lease_token=token,
                reason=failure.reason,
                message=failure.message,
                retryable=failure.retryable,
                infeasible=failure.infeasible,
            )
            return lambda: self._stub.FailTask(failed, timeout=CALL_TIMEOUT_SECONDS)
        except Exception as error:
            # The worker outlives a defect in one trial; the log keeps the traceback.
            log.exception("%s: failed", run.task.name)
            failed = task_service_pb2.FailTaskRequest(
                name=name,
                lease_token=token,
                reason=resources_pb2.INTERNAL,
                message=f"{type(error).__name__}: {error}"[:2000],
                retryable=True,
            )
            return lambda: self._stub.FailTask(failed, timeout=CALL_TIMEOUT_SECONDS)
        completed = task_service_pb2.CompleteTaskRequest(
            name=name, lease_token=token, measurement=measurement(outcome.step, outcome.metrics)
        )
        return lambda: self._stub.CompleteTask(completed, timeout=CALL_TIMEOUT_SECONDS)

    def _settle(self, run: TaskRun, settle: Callable[[], object]) -> None:
        # A result is worth waiting for: the orchestrator may be restarting.
        patience = 5.0 if self._shutdown.is_set() else 600.0
        try:
            call_with_retries(settle, RetryPolicy(give_up_after_seconds=patience))
            log.info("%s: settled", run.task.name)
        except grpc.RpcError as error:
            level = logging.WARNING if is_transient(error) else logging.ERROR
            log.log(level, "%s: not settled: %s: %s", run.task.name, error.code().name, error.details())
