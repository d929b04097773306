"""The loop of a worker: claim a task, run it under its lease, settle it, claim the next."""

import contextlib
import logging
import queue
import signal
import threading
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import grpc
from google.protobuf import duration_pb2
from nas.v1 import resources_pb2, task_service_pb2, task_service_pb2_grpc

from nas_shared.cli import CommandError
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
_FOR_EVER = RetryPolicy(give_up_after_seconds=None)
# A result is worth waiting for: the orchestrator may be restarting. A worker that ends waits less.
_SETTLE = RetryPolicy(give_up_after_seconds=600.0)
_SETTLE_AT_THE_END = RetryPolicy(give_up_after_seconds=5.0)


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
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(self) -> int:
        """Works until SIGTERM, SIGINT, `max_tasks` or recycling; returns the exit code, 0.

        Raises:
          CommandError: if the orchestrator refuses to give this worker tasks, e.g. for want of a token.
        """
        if threading.current_thread() is threading.main_thread():
            threading.Thread(target=self._heed_signals, name="signals", daemon=True).start()
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
        if (run := self._current) is not None:
            run.stop(StopReason.SHUTDOWN)
        if (claiming := self._claiming) is not None:
            claiming.cancel()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # The interrupted code may hold any lock, that of an Event too; this queue alone takes none.
        self._signals.put(signum)

    def _heed_signals(self) -> None:
        while True:
            signum = self._signals.get()
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
            claiming = self._stub.ClaimTask.future(request, timeout=CLAIM_WAIT_SECONDS + CALL_TIMEOUT_SECONDS)
            self._claiming = claiming
            # `shut_down` sees either this call or nothing to cancel; then it is seen here.
            if self._shutdown.is_set():
                claiming.cancel()
            return claiming.result()

        try:
            return call_with_retries(call, _FOR_EVER, give_up=self._shutdown)
        except grpc.FutureCancelledError:
            return None
        except grpc.RpcError as error:
            if self._shutdown.is_set():
                return None
            raise CommandError(
                f"{self._target} gives {self._worker_id} no task: {error.code().name}: {error.details()}"
            ) from error
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
            completed = task_service_pb2.CompleteTaskRequest(
                name=name, lease_token=token, measurement=measurement(outcome.step, outcome.metrics)
            )
        except TaskStopped:
            log.info("%s: stops, %s", run.task.name, run.stop_reason and run.stop_reason.value)
            released = task_service_pb2.ReleaseTaskRequest(name=name, lease_token=token)
            return lambda: self._stub.ReleaseTask(released, timeout=CALL_TIMEOUT_SECONDS)
        except TaskFailed as failure:
            log.error("%s: failed: %s", run.task.name, failure.message)
            log.debug("%s", run.task.name, exc_info=True)
            return self._fail(run, failure)
        except Exception as error:
            # The worker outlives a defect in one trial; the log keeps the traceback.
            log.exception("%s: failed", run.task.name)
            message = f"{type(error).__name__}: {error}"[:2000]
            return self._fail(run, TaskFailed(resources_pb2.INTERNAL, message, retryable=True))
        return lambda: self._stub.CompleteTask(completed, timeout=CALL_TIMEOUT_SECONDS)

    def _fail(self, run: TaskRun, failure: TaskFailed) -> Callable[[], object]:
        """The call that reports a failure."""
        failed = task_service_pb2.FailTaskRequest(
            name=run.task.name,
            lease_token=run.lease_token,
            reason=failure.reason,
            message=failure.message,
            retryable=failure.retryable,
            infeasible=failure.infeasible,
        )
        return lambda: self._stub.FailTask(failed, timeout=CALL_TIMEOUT_SECONDS)

    def _settle(self, run: TaskRun, settle: Callable[[], object]) -> None:
        try:
            self._deliver(settle)
        except grpc.RpcError as error:
            level = logging.WARNING if is_transient(error) else logging.ERROR
            log.log(level, "%s: not settled: %s: %s", run.task.name, error.code().name, error.details())
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                # It stays refused. Better say so than have the lease run out and the work done again.
                message = f"the outcome is refused: {error.details()}"
                with contextlib.suppress(grpc.RpcError):
                    self._deliver(self._fail(run, TaskFailed(resources_pb2.INTERNAL, message)))
        else:
            log.info("%s: settled", run.task.name)

    def _deliver(self, settle: Callable[[], object]) -> None:
        try:
            call_with_retries(settle, _SETTLE, give_up=self._shutdown)
        except grpc.RpcError as error:
            if not (is_transient(error) and self._shutdown.is_set()):
                raise
            call_with_retries(settle, _SETTLE_AT_THE_END)
