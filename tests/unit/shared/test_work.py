"""The loop of a worker against a TaskService in this process, over a real channel."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from nas.v1 import resources_pb2, task_service_pb2

from nas_shared.cli import CommandError
from nas_shared.work import Outcome, StopReason, TaskFailed, TaskRun, TaskStopped, Worker
from nas_shared.work import worker as worker_module

sys.path.insert(0, str(Path(__file__).parent))

from fake_task_service import FakeTaskService, Serving, serve_tasks, wait_until

GONE = grpc.StatusCode.UNAVAILABLE


class Doing:
    """A handler that does what the test says, and remembers the runs it was given."""

    def __init__(self, handle: Callable[[TaskRun], Outcome]):
        self._handle = handle
        self.runs: list[TaskRun] = []

    def handle(self, run: TaskRun) -> Outcome:
        self.runs.append(run)
        return self._handle(run)


def succeed(run: TaskRun) -> Outcome:
    return Outcome(7, {"accuracy": 0.5})


def until_stopped(run: TaskRun) -> Outcome:
    assert run.wait_stop(10), "nobody asked the task to stop"
    raise TaskStopped


@pytest.fixture
def service() -> FakeTaskService:
    return FakeTaskService()


@pytest.fixture
def serving(service: FakeTaskService) -> Iterator[Serving]:
    serving = serve_tasks(service)
    yield serving
    serving.close()


class Working:
    """A worker on a thread of its own."""

    def __init__(self, target: str, handle: Callable[[TaskRun], Outcome], **kwargs: Any):
        self.handler = Doing(handle)
        self.worker = Worker(
            target,
            worker_id="w",
            kind=task_service_pb2.Task.TRAIN,
            device_type="NVIDIA_TESLA_T4",
            handler=self.handler,
            **kwargs,
        )
        self.exit_codes: list[int] = []
        self.errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.exit_codes.append(self.worker.run())
        except BaseException as error:
            self.errors.append(error)

    def ended(self, seconds: float = 10.0) -> int:
        """The exit code, once the worker has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the worker did not end"
        if self.errors:
            raise self.errors[0]
        return self.exit_codes[0]


@pytest.fixture
def work(serving: Serving) -> Iterator[Callable[..., Working]]:
    started: list[Working] = []

    def start(handle: Callable[[TaskRun], Outcome] = succeed, **kwargs: Any) -> Working:
        started.append(Working(serving.target, handle, **kwargs))
        return started[-1]

    yield start
    for working in started:
        working.worker.shut_down()
        working._thread.join(10)


# Claim, run, settle


def test_a_worker_claims_runs_and_completes_one_task_after_the_other(service, work):
    names = [service.add(1), service.add(2)]
    working = work(max_tasks=2)
    assert working.ended() == 0
    claims = service.requests("ClaimTask")
    assert [(c.worker_id, c.kind, c.device_type) for c in claims] == [
        ("w", task_service_pb2.Task.TRAIN, "NVIDIA_TESLA_T4")
    ] * 2
    assert len({claim.request_id for claim in claims}) == 2
    assert all(claim.wait.seconds == worker_module.CLAIM_WAIT_SECONDS for claim in claims)
    assert [(what, request.name) for what, request in service.settled] == [
        ("complete", name) for name in names
    ]
    request = service.settled[0][1]
    assert request.lease_token == f"{names[0]}#1"
    assert request.measurement.step == 7
    assert dict(request.measurement.metrics) == {"accuracy": 0.5}
    assert abs(request.measurement.measure_time.ToSeconds() - time.time()) < 60


def test_metrics_may_be_numbers_of_numpy(service, work):
    service.add()
    work(lambda run: Outcome(np.int64(3), {"accuracy": np.float32(0.25)}), max_tasks=1).ended()
    assert dict(service.settled[0][1].measurement.metrics) == {"accuracy": 0.25}


def test_a_worker_ends_after_its_number_of_tasks_and_leaves_the_rest(service, work):
    service.add(1)
    service.add(2)
    assert work(max_tasks=1).ended() == 0
    assert len(service.settled) == len(service.requests("ClaimTask")) == 1


def test_a_worker_is_asked_whether_to_recycle_after_a_task_and_not_before_the_first(service, work):
    service.add(1)
    service.add(2)
    asked = []

    def full() -> bool:
        asked.append(len(service.settled))
        return len(asked) == 2

    assert work(should_recycle=full).ended() == 0
    assert asked == [1, 2]


# The lease


def test_the_lease_is_renewed_every_third_of_its_length_until_the_task_is_settled(service, work):
    service.lease_seconds = 0.45
    service.add()
    work(lambda run: (run.wait_stop(1.0) and pytest.fail("stopped")) or Outcome(1, {}), max_tasks=1).ended()
    times = [at for method, at in service.call_times if method == "RenewLease"]
    assert 3 <= len(times) <= 7
    assert all(0.13 < later - earlier < 0.45 for earlier, later in itertools.pairwise(times))
    renewals = len(times)
    time.sleep(0.3)
    assert len(service.requests("RenewLease")) == renewals


def test_a_renewal_that_says_stop_stops_the_task_and_it_is_released(service, work):
    service.lease_seconds = 0.15
    name = service.add()
    service.stop.add(name)
    working = work(until_stopped, max_tasks=1)
    assert working.ended() == 0
    assert working.handler.runs[0].stop_reason is StopReason.TRIAL_STOPPED
    assert [what for what, _ in service.settled] == ["release"]


def test_a_lost_lease_stops_the_task_and_nothing_of_it_is_settled(service, work):
    service.lease_seconds = 0.15
    service.lost.add(service.add())
    working = work(until_stopped, max_tasks=1)
    assert working.ended() == 0
    assert working.handler.runs[0].stop_reason is StopReason.LEASE_LOST
    assert not {"CompleteTask", "FailTask", "ReleaseTask"} & {method for method, _ in service.calls}


def test_the_outcome_of_a_task_whose_lease_was_lost_meanwhile_is_dropped(service, work):
    service.lease_seconds = 0.15
    service.lost.add(service.add())

    def stubborn(run: TaskRun) -> Outcome:
        assert run.wait_stop(10)
        return Outcome(1, {"accuracy": 1.0})

    assert work(stubborn, max_tasks=1).ended() == 0
    assert not service.requests("CompleteTask")


def test_a_task_that_does_not_exist_any_more_counts_as_lost(service, work):
    service.lease_seconds = 0.15
    service.add()
    service.failures["RenewLease"] = deque([grpc.StatusCode.NOT_FOUND])
    working = work(until_stopped, max_tasks=1)
    working.ended()
    assert working.handler.runs[0].stop_reason is StopReason.LEASE_LOST
    assert not service.settled


def test_renewals_outlive_an_orchestrator_that_is_away_and_one_that_has_a_defect(service, work):
    service.lease_seconds = 0.3
    service.add()
    service.failures["RenewLease"] = deque([GONE, grpc.StatusCode.INTERNAL, GONE, grpc.StatusCode.UNKNOWN])

    def patient(run: TaskRun) -> Outcome:
        wait_until(lambda: len(service.requests("RenewLease")) >= 6 or run.should_stop)
        assert not run.should_stop
        return Outcome(1, {})

    assert work(patient, max_tasks=1).ended() == 0
    assert [what for what, _ in service.settled] == ["complete"]


def test_a_lost_lease_outranks_any_other_reason_to_stop(service):
    run = TaskRun(None, task_service_pb2.Task(), task_service_pb2.Lease())
    assert (run.should_stop, run.stop_reason) == (False, None)
    run.stop(StopReason.SHUTDOWN)
    run.stop(StopReason.TRIAL_STOPPED)
    assert run.stop_reason is StopReason.SHUTDOWN
    run.stop(StopReason.LEASE_LOST)
    run.stop(StopReason.SHUTDOWN)
    assert (run.should_stop, run.stop_reason) == (True, StopReason.LEASE_LOST)


# Reports


def test_plain_metrics_are_sent_once_and_a_saved_model_until_it_has_arrived(service, work):
    service.add()
    service.failures["ReportMeasurement"] = deque([GONE] * 3)

    def reporting(run: TaskRun) -> Outcome:
        run.report(1, {"loss": 2.0})
        run.report(2, {"loss": 1.0}, "/attempt/saved_model")
        return Outcome(3, {})

    assert work(reporting, max_tasks=1).ended() == 0
    reports = service.requests("ReportMeasurement")
    assert [report.measurement.step for report in reports] == [1, 2, 2, 2]
    assert {report.saved_model_dir for report in reports[1:]} == {"/attempt/saved_model"}
    assert not service.failures["ReportMeasurement"]


def test_the_answer_to_a_report_may_stop_the_task_and_later_reports_are_not_sent(service, work):
    service.stop.add(service.add())

    def reporting(run: TaskRun) -> Outcome:
        run.report(1, {"loss": 2.0})
        assert run.stop_reason is StopReason.TRIAL_STOPPED
        run.report(2, {"loss": 1.0}, "/attempt/saved_model")
        raise TaskStopped

    assert work(reporting, max_tasks=1).ended() == 0
    assert len(service.requests("ReportMeasurement")) == 1


def test_a_report_on_a_lost_lease_stops_the_task(service, work):
    service.lost.add(service.add())
    working = work(lambda run: run.report(1, {}, "/model") or until_stopped(run), max_tasks=1)
    working.ended()
    assert working.handler.runs[0].stop_reason is StopReason.LEASE_LOST


def test_a_saved_model_that_cannot_be_delivered_gives_up_when_the_task_is_to_stop(service, work):
    service.add()
    service.failures["ReportMeasurement"] = deque([GONE] * 1000)
    working = work(lambda run: run.report(1, {}, "/model") or until_stopped(run))
    wait_until(lambda: len(service.requests("ReportMeasurement")) > 1)
    working.worker.shut_down()
    assert working.ended() == 0
    assert [what for what, _ in service.settled] == ["release"]


def test_a_report_that_is_refused_is_logged_and_the_work_goes_on(service, work, caplog):
    service.add()
    service.failures["ReportMeasurement"] = deque([grpc.StatusCode.INVALID_ARGUMENT])
    work(lambda run: run.report(1, {}, "/elsewhere") or succeed(run), max_tasks=1).ended()
    assert [what for what, _ in service.settled] == ["complete"]
    assert "INVALID_ARGUMENT: on demand of the test" in caplog.text


# Failures of a handler


def test_an_exception_of_a_handler_is_reported_as_internal_and_worth_another_try(service, work, caplog):
    service.add(1)
    service.add(2)

    def broken(run: TaskRun) -> Outcome:
        if run.task.train.trial_number == 1:
            raise ZeroDivisionError("x" * 5000)
        return succeed(run)

    assert work(broken, max_tasks=2).ended() == 0
    (_, failed), (what, _) = service.settled
    assert (failed.reason, failed.retryable, failed.infeasible) == (resources_pb2.INTERNAL, True, False)
    assert failed.message.startswith("ZeroDivisionError: xxx")
    assert len(failed.message) == 2000
    assert what == "complete"
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("outcome", [None, Outcome(1, {"accuracy": "high"}), Outcome("last", {})])
def test_an_outcome_that_is_none_is_a_defect_of_the_handler_and_the_worker_lives_on(service, work, outcome):
    service.add(1)
    service.add(2)
    assert work(lambda run: outcome, max_tasks=2).ended() == 0
    assert [(what, request.reason) for what, request in service.settled] == [
        ("fail", resources_pb2.INTERNAL)
    ] * 2


@pytest.mark.parametrize("retryable", [False, True])
@pytest.mark.parametrize("infeasible", [False, True])
def test_a_failure_a_handler_knows_keeps_its_reason_message_and_flags(service, work, retryable, infeasible):
    name = service.add()

    def fail(run: TaskRun) -> Outcome:
        raise TaskFailed(
            resources_pb2.NAN_LOSS, "loss: found NaN", retryable=retryable, infeasible=infeasible
        )

    work(fail, max_tasks=1).ended()
    expected = task_service_pb2.FailTaskRequest(
        name=name,
        lease_token=f"{name}#1",
        reason=resources_pb2.NAN_LOSS,
        message="loss: found NaN",
        retryable=retryable,
        infeasible=infeasible,
    )
    assert service.settled == [("fail", expected)]


def test_an_outcome_the_orchestrator_refuses_fails_the_task_with_its_words(service, work):
    service.add()
    service.refuse_metrics = {"accuracy"}
    assert work(max_tasks=1).ended() == 0
    ((what, request),) = service.settled
    assert (what, request.reason, request.retryable) == ("fail", resources_pb2.INTERNAL, False)
    assert "found accuracy" in request.message


# Shutting down


def test_a_shut_down_drops_the_claim_that_waits(service, work):
    working = work()
    wait_until(lambda: service.waiting == 1)
    started = time.monotonic()
    working.worker.shut_down()
    assert working.ended() == 0
    assert time.monotonic() - started < 2
    wait_until(lambda: service.waiting == 0)


def test_a_shut_down_between_two_claims_is_not_lost(service, work, monkeypatch):
    # The order to end arrives when the next claim is decided on and not yet under way.
    made = worker_module.task_service_pb2.ClaimTaskRequest

    class Requests:
        def __getattr__(self, name: str) -> Any:
            return getattr(task_service_pb2, name)

        @staticmethod
        def ClaimTaskRequest(**kwargs: Any) -> Any:
            working.worker.shut_down()
            return made(**kwargs)

    ready = threading.Event()
    monkeypatch.setattr(worker_module, "task_service_pb2", Requests())
    monkeypatch.setattr(worker_module.log, "info", lambda *_: ready.wait(5))
    working = work()
    ready.set()
    started = time.monotonic()
    assert working.ended() == 0
    assert time.monotonic() - started < 5


def test_a_shut_down_stops_the_running_task_which_is_released_and_nothing_more_is_claimed(service, work):
    service.add(1)
    service.add(2)
    working = work(until_stopped)
    wait_until(lambda: working.handler.runs)
    working.worker.shut_down()
    assert working.ended() == 0
    assert working.handler.runs[0].stop_reason is StopReason.SHUTDOWN
    assert [what for what, _ in service.settled] == ["release"]
    assert len(service.requests("ClaimTask")) == 1


def test_a_shut_down_while_the_orchestrator_is_away_ends_the_wait_for_a_task(service, serving, work):
    serving.stop()
    working = work()
    time.sleep(0.2)
    working.worker.shut_down()
    assert working.ended(5) == 0
    serving.start()


def test_a_shut_down_while_a_result_waits_for_the_orchestrator_ends_the_wait_soon(
    service, serving, work, monkeypatch, caplog
):
    patience = worker_module.RetryPolicy(give_up_after_seconds=0.2)
    monkeypatch.setattr(worker_module, "_SETTLE_AT_THE_END", patience)
    service.add()
    service.failures["CompleteTask"] = deque([GONE] * 1000)
    working = work()
    wait_until(lambda: len(service.requests("CompleteTask")) >= 2)
    working.worker.shut_down()
    assert working.ended(5) == 0
    assert "not settled: UNAVAILABLE" in caplog.text


PROGRAM = """
import logging, sys
from nas.v1 import task_service_pb2
from nas_shared.work import Outcome, TaskStopped, Worker

class Handler:
    def handle(self, run):
        if not run.wait_stop(20):
            return Outcome(1, {})
        print("stopped:", run.stop_reason.name, flush=True)
        raise TaskStopped

logging.basicConfig(level=logging.INFO)
kind = task_service_pb2.Task.TRAIN
sys.exit(Worker(sys.argv[1], worker_id="w", kind=kind, device_type="", handler=Handler()).run())
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_signal_ends_a_worker_in_good_order_whatever_it_does(service, serving, signum, busy):
    if busy:
        service.add()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, serving.target], stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: service._claims if busy else service.waiting, 30)
        if busy:
            time.sleep(0.2)
        os.kill(process.pid, signum)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert output == ("stopped: SHUTDOWN\n" if busy else "")
    assert [what for what, _ in service.settled] == (["release"] if busy else [])


# The orchestrator goes away and comes back


def test_a_claim_whose_answer_got_lost_is_repeated_with_the_same_request_id(service, work):
    service.add()
    service.lose_answers["ClaimTask"] = 2
    working = work(max_tasks=1)
    assert working.ended() == 0
    assert len({claim.request_id for claim in service.requests("ClaimTask")}) == 1
    assert len(service.requests("ClaimTask")) == 3
    assert len(working.handler.runs) == 1
    assert working.handler.runs[0].task.attempt == 1


def test_a_completion_whose_answer_got_lost_is_repeated_and_settles_once(service, work):
    service.add()
    service.lose_answers["CompleteTask"] = 2
    assert work(max_tasks=1).ended() == 0
    requests = service.requests("CompleteTask")
    assert len(requests) == 3
    assert len({request.SerializeToString(deterministic=True) for request in requests}) == 1
    assert len(service.settled) == 1


def test_a_worker_waits_for_an_orchestrator_that_is_not_there_yet(service, serving, work):
    serving.stop()
    working = work(max_tasks=1)
    time.sleep(0.3)
    service.add()
    serving.start()
    assert working.ended() == 0
    assert [what for what, _ in service.settled] == ["complete"]


def test_a_waiting_claim_survives_a_restart_of_the_orchestrator(service, serving, work):
    working = work(max_tasks=1)
    wait_until(lambda: service.waiting)
    serving.stop()
    time.sleep(0.2)
    serving.start()
    service.add()
    assert working.ended() == 0
    assert [what for what, _ in service.settled] == ["complete"]


def test_a_running_task_survives_a_restart_of_the_orchestrator(service, serving, work):
    service.lease_seconds = 0.3
    service.add()
    back = threading.Event()

    def working_on(run: TaskRun) -> Outcome:
        assert back.wait(10)
        run.report(1, {}, "/attempt/saved_model")
        renewals = len(service.requests("RenewLease"))
        wait_until(lambda: len(service.requests("RenewLease")) > renewals)
        assert not run.should_stop
        return Outcome(2, {})

    working = work(working_on, max_tasks=1)
    wait_until(lambda: working.handler.runs)
    serving.stop()
    back.set()
    time.sleep(0.3)
    serving.start()
    assert working.ended() == 0
    assert len(service.requests("ReportMeasurement")) == 1
    assert [what for what, _ in service.settled] == ["complete"]


def test_a_result_survives_a_restart_of_the_orchestrator(service, serving, work):
    service.add()

    def finish(run: TaskRun) -> Outcome:
        serving.stop()
        return succeed(run)

    working = work(finish, max_tasks=1)
    wait_until(lambda: working.handler.runs)
    time.sleep(0.3)
    serving.start()
    assert working.ended() == 0
    assert [what for what, _ in service.settled] == ["complete"]


# Proof of identity


def test_a_worker_without_the_token_ends_with_one_line_that_says_so(service):
    serving = serve_tasks(service, token="secret")
    try:
        working = Working(serving.target, succeed)
        with pytest.raises(CommandError, match=f"{serving.target} gives w no task: UNAUTHENTICATED") as error:
            working.ended()
        assert "\n" not in str(error.value)
    finally:
        serving.close()


def test_a_worker_with_the_token_works_and_shuts_down_like_any_other(service):
    serving = serve_tasks(service, token="secret")
    try:
        service.add()
        working = Working(serving.target, succeed, token="secret")
        wait_until(lambda: service.settled and service.waiting)
        working.worker.shut_down()
        assert working.ended(5) == 0
    finally:
        serving.close()


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
