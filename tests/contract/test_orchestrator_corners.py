"""Corners of the orchestrator: lost answers, crashes between two steps, requests no client of ours sends."""

import asyncio
import base64
import json
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf import duration_pb2
from nas.v1 import resources_pb2, search_service_pb2, task_service_pb2

from nas_orchestrator.adapters import reaper, relay, scribe, transactor
from nas_orchestrator.adapters.sql.store import SqlTransaction
from nas_orchestrator.domain.task import MAX_LOSSES
from nas_orchestrator.search import proposals
from nas_shared.rpc import error_reason
from nas_shared.search_spaces import registry

Trial, Job = resources_pb2.Trial, resources_pb2.SearchJob


def refusal(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def resume(orchestrator, job, **limits):
    request = search_service_pb2.ResumeSearchJobRequest(name=job.name)
    if limits:
        request.limits.CopyFrom(resources_pb2.Limits(**limits))
    return orchestrator.search.ResumeSearchJob(request)


def delete(orchestrator, job) -> None:
    orchestrator.search.DeleteSearchJob(search_service_pb2.DeleteSearchJobRequest(name=job.name))


# Answers that got lost


def test_a_release_repeated_after_a_lost_answer_is_answered_again(orchestrator):
    orchestrator.create(trials=1, parallel=1)
    claim = orchestrator.claim()
    orchestrator.release(claim)
    orchestrator.release(claim)
    assert orchestrator.claim("next").task.attempt == 2


def test_a_release_of_a_stopped_trial_repeated_after_a_lost_answer_is_answered_again(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    claim = orchestrator.claim()
    orchestrator.cancel(job.name)
    orchestrator.release(claim)
    orchestrator.release(claim)
    assert orchestrator.job(job.name).trial_counts.cancelled == 1


def test_a_failure_worth_another_try_repeated_after_a_lost_answer_counts_as_one_loss(orchestrator):
    orchestrator.create(trials=1, parallel=1)
    for attempt in range(1, MAX_LOSSES + 1):
        claim = orchestrator.claim()
        assert claim.task.attempt == attempt
        answers = [orchestrator.fail(claim, message="once more", retryable=True) for _ in range(3)]
        assert {answer.state for answer in answers} == {
            Trial.ACTIVE if attempt < MAX_LOSSES else Trial.FAILED
        }


def test_a_release_repeated_after_the_next_worker_claimed_is_refused(orchestrator):
    orchestrator.create(trials=1, parallel=1)
    claim = orchestrator.claim()
    orchestrator.release(claim)
    fresh = orchestrator.claim("next")
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.release(claim)
    assert error_reason(error.value) == "LEASE_LOST"
    orchestrator.renew(fresh)


def test_a_task_that_was_never_leased_is_not_released_by_an_empty_token(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    nobody = task_service_pb2.ClaimTaskResponse()
    nobody.task.name = f"{job.name}/trials/1/tasks/train"
    for call in (orchestrator.release, orchestrator.fail, orchestrator.complete, orchestrator.renew):
        with pytest.raises(grpc.RpcError) as error:
            call(nobody)
        assert error_reason(error.value) == "LEASE_LOST"


# The end of a job


def test_a_job_of_which_every_trial_failed_has_failed_however_many_failures_it_allows(orchestrator):
    job = orchestrator.create(trials=2, parallel=1, max_failed=5)
    for _ in range(2):
        orchestrator.fail(orchestrator.claim(), message="no luck")
    ended = orchestrator.job(job.name)
    assert ended.state == Job.FAILED
    assert "no luck" in ended.error_message


def test_a_measurement_that_fails_after_the_training_is_done_fails_the_trial_and_the_search_goes_on(
    orchestrator,
):
    job = orchestrator.create(trials=2, parallel=1, measured=True)
    train = orchestrator.claim("trainer")
    orchestrator.report(train, saved_model_dir=f"{train.task.train.attempt_dir}/untrained/saved_model")
    measure = orchestrator.claim("calculator", kind="MEASURE")
    assert orchestrator.complete(train, accuracy=0.9).state == Trial.ACTIVE
    assert orchestrator.fail(measure, reason="TIMEOUT", message="slow").state == Trial.FAILED
    counts = orchestrator.job(job.name).trial_counts
    assert (counts.failed, counts.open, counts.created) == (1, 1, 2)
    assert not orchestrator.claim("calculator", kind="MEASURE").HasField("task")
    assert orchestrator.complete(train, accuracy=0.9).state == Trial.FAILED


def test_a_failed_job_resumes_while_its_old_trials_still_stop_and_never_has_too_many_open(orchestrator):
    job = orchestrator.create(trials=4, parallel=2, max_failed=1)
    failing, stopping = orchestrator.claim("a"), orchestrator.claim("b")
    orchestrator.fail(failing, message="no luck")
    assert orchestrator.job(job.name).state == Job.FAILED
    resumed = resume(
        orchestrator, job, max_trial_count=4, max_parallel_trial_count=2, max_failed_trial_count=3
    )
    assert (resumed.state, resumed.trial_counts.open) == (Job.RUNNING, 2)
    assert orchestrator.renew(stopping).stop
    orchestrator.release(stopping)
    counts = orchestrator.job(job.name).trial_counts
    assert (counts.cancelled, counts.open) == (1, 2)
    for _ in range(3):
        orchestrator.complete(orchestrator.claim("a"))
    ended = orchestrator.job(job.name)
    assert ended.state == Job.SUCCEEDED
    assert (ended.trial_counts.succeeded, ended.trial_counts.failed, ended.trial_counts.open) == (3, 1, 0)


def test_a_failed_job_is_deleted_while_its_workers_still_stop_and_they_are_told(orchestrator):
    job = orchestrator.create(trials=4, parallel=2, max_failed=1)
    failing, stopping = orchestrator.claim("a"), orchestrator.claim("b")
    orchestrator.fail(failing)
    delete(orchestrator, job)
    for call in (orchestrator.renew, orchestrator.release, orchestrator.complete):
        assert refusal(lambda call=call: call(stopping))[0] == grpc.StatusCode.NOT_FOUND
    orchestrator.now += 61
    assert orchestrator.reap() == 0
    # The worker is free for other work.
    other = orchestrator.create(name="other", trials=1, parallel=1)
    assert orchestrator.claim("b").task.name.startswith(other.name)


@pytest.mark.parametrize("accuracy", [0.5, 0.0])
def test_a_reward_that_is_no_number_fails_its_trial_and_the_search_goes_on(orchestrator, accuracy):
    target = resources_pb2.Target(value=1e9, form="EXPONENTS", alpha=1e6, beta=1e6)
    reward = resources_pb2.RewardSpec(metric="accuracy", multiply_adds_billion=target)
    job = orchestrator.create(trials=2, parallel=1, reward=reward)
    trial = orchestrator.complete(orchestrator.claim(), accuracy=accuracy, multiply_adds=1.0)
    assert trial.state == Trial.FAILED
    assert "no reward" in trial.error_message
    assert orchestrator.job(job.name).trial_counts.open == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_not_finite_is_never_the_best(orchestrator, monkeypatch, value):
    job = orchestrator.create(trials=2, parallel=1)
    with monkeypatch.context() as edited:
        edited.setattr("nas_shared.reward.compute", lambda spec, metrics: value)
        assert orchestrator.complete(orchestrator.claim()).state == Trial.FAILED
    assert orchestrator.complete(orchestrator.claim(), accuracy=0.25).reward == 0.25
    assert orchestrator.job(job.name).best_reward == 0.25


# Watchers and files


def test_a_watcher_hears_of_the_last_trial_though_the_job_ends_while_the_one_before_is_told(
    orchestrator, monkeypatch
):
    publish = scribe.publish

    def slow(job, trial):
        time.sleep(0.3)
        publish(job, trial)

    monkeypatch.setattr(scribe, "publish", slow)
    job = orchestrator.create(trials=2, parallel=2)
    claims = [orchestrator.claim(f"w{i}") for i in range(2)]
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(orchestrator.wait_until_told, job.name)
        wait_until(lambda: orchestrator.run(watchers(orchestrator)))
        orchestrator.complete(claims[0])
        time.sleep(0.15)
        orchestrator.complete(claims[1])
        seen = watched.result(30)
    settled = {answer.trial.name for answer in seen if answer.trial.state == Trial.SUCCEEDED}
    assert settled == {f"{job.name}/trials/1", f"{job.name}/trials/2"}
    assert seen[-1].search_job.state == Job.SUCCEEDED
    assert len(list(orchestrator.directory.glob("out/*/nas/search/*/job_status.json"))) == 2


async def watchers(orchestrator) -> int:
    (watches,) = (each for each in orchestrator.app._relay._listeners if hasattr(each, "watch"))
    return sum(map(len, watches._by_job.values()))


def test_watchers_that_hang_up_are_forgotten(orchestrator):
    job = orchestrator.create()
    streams = [
        orchestrator.search.WatchSearchJob(search_service_pb2.WatchSearchJobRequest(name=job.name))
        for _ in range(5)
    ]
    for stream in streams:
        next(stream)
    assert orchestrator.run(watchers(orchestrator)) == 5
    for stream in streams:
        stream.cancel()
    wait_until(lambda: orchestrator.run(watchers(orchestrator)) == 0)


def test_a_directory_no_file_can_have_is_refused_and_nothing_is_stored(orchestrator):
    code, message = refusal(lambda: orchestrator.create(root_output_dir="/data/\0"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "root_output_dir" in message
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.complete(orchestrator.claim())
    request = search_service_pb2.ResumeSearchJobRequest(
        name=job.name,
        limits=resources_pb2.Limits(max_trial_count=2, max_parallel_trial_count=1),
        root_output_dir="\0",
    )
    assert (
        refusal(lambda: orchestrator.search.ResumeSearchJob(request))[0] == grpc.StatusCode.INVALID_ARGUMENT
    )
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_what_could_not_be_told_before_the_end_is_told_after_the_next_start(orchestrator, monkeypatch):
    def broken(job, trial):
        raise RuntimeError("not now")

    publish = scribe.publish
    monkeypatch.setattr(scribe, "publish", broken)
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.complete(orchestrator.claim())
    time.sleep(0.2)
    orchestrator.stop()
    monkeypatch.setattr(scribe, "publish", publish)
    orchestrator.start()
    orchestrator.wait_until_told(job.name)
    assert list(orchestrator.directory.glob("out/*/nas/search/1/job_status.json"))


def test_the_relay_goes_on_after_an_error_nobody_foresaw(orchestrator, monkeypatch):
    monkeypatch.setattr(relay, "_RETRY_SECONDS", 0.05)
    read, errors = SqlTransaction.read_outbox, iter([sa.exc.DatabaseError("SELECT", None, Exception("odd"))])

    def once_broken(self, limit):
        for error in errors:
            raise error
        return read(self, limit)

    monkeypatch.setattr(SqlTransaction, "read_outbox", once_broken)
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.complete(orchestrator.claim())
    orchestrator.wait_until_told(job.name)
    assert list(orchestrator.directory.glob("out/*/nas/search/1/job_status.json"))


# Requests no client of ours sends


@pytest.mark.parametrize(
    "offset", [b"offset=-5", b"offset=99999999999999999999", b"5", b"offset=x", b"offset="]
)
def test_a_page_token_nobody_was_given_is_refused(orchestrator, offset):
    token = base64.urlsafe_b64encode(offset).decode()
    request = search_service_pb2.ListSearchJobsRequest(page_token=token)
    code, message = refusal(lambda: orchestrator.search.ListSearchJobs(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "page_token" in message


@pytest.mark.parametrize("job_id", ["9" * 19, "9" * 18])
def test_a_job_id_of_any_length_is_answered_with_a_status_that_fits(orchestrator, job_id):
    code, _ = refusal(lambda: orchestrator.job(f"searchJobs/{job_id}"))
    assert code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("seconds", [10**15, -(10**15)])
def test_a_duration_that_no_clock_counts_is_refused(orchestrator, seconds):
    absurd = duration_pb2.Duration(seconds=seconds)
    request = task_service_pb2.ClaimTaskRequest(worker_id="w", kind="TRAIN", wait=absurd)
    code, message = refusal(lambda: orchestrator.tasks.ClaimTask(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "wait" in message
    spec = orchestrator.spec(measured=True)
    spec.measure.options.timeout.CopyFrom(absurd)
    job = resources_pb2.SearchJob(display_name="j", spec=spec)
    create = search_service_pb2.CreateSearchJobRequest(search_job=job)
    code, message = refusal(lambda: orchestrator.search.CreateSearchJob(create))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "timeout" in message


def test_more_trials_at_once_than_one_transaction_can_bear_are_refused(orchestrator):
    huge = 2**31 - 1
    code, message = refusal(lambda: orchestrator.create(trials=huge, parallel=huge))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "max_parallel_trial_count" in message
    assert orchestrator.create(trials=2, parallel=huge).trial_counts.open == 2


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"train": resources_pb2.TrainSpec(flags={"a": "x" * 2_000_000})}, "spec"),
        (
            {"train": resources_pb2.TrainSpec(accelerator_type="T" * 65, accelerator_count=1)},
            "accelerator_type",
        ),
    ],
)
def test_a_job_larger_than_any_job_is_refused_and_nothing_is_stored(orchestrator, overrides, field):
    code, message = refusal(lambda: orchestrator.create(**overrides))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in message
    assert not orchestrator.search.ListSearchJobs(search_service_pb2.ListSearchJobsRequest()).search_jobs


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"device_type": "d" * 65}, "device_type"), ({"request_id": "r" * 129}, "request_id")],
)
def test_a_claim_with_words_too_long_to_keep_is_refused(orchestrator, arguments, field):
    code, message = refusal(lambda: orchestrator.claim(**arguments))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in message


def test_metrics_without_end_are_refused_and_the_lease_stays(orchestrator):
    orchestrator.create()
    claim = orchestrator.claim()
    many = {f"metric_{i}": 1.0 for i in range(5000)}
    for metrics in (many, {"m" * 1000: 1.0}):
        for call in (orchestrator.report, orchestrator.complete):
            code, message = refusal(lambda call=call, metrics=metrics: call(claim, **metrics))
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert "measurement.metrics" in message
    orchestrator.renew(claim)


def test_a_message_about_a_huge_value_still_reaches_the_caller(orchestrator):
    code, message = refusal(lambda: orchestrator.claim("ü" * 100_000))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("worker_id: found")
    assert len(message) < 2000


# Failures of the store, and what is left of them


def test_a_store_that_somebody_else_has_locked_for_long_is_unavailable_and_holds_up_nobody_else(
    orchestrator, monkeypatch
):
    monkeypatch.setattr(transactor, "_LOCK_PATIENCE_SECONDS", 0.5)
    job = orchestrator.create(trials=20, parallel=20)
    claims = [orchestrator.claim(f"w{i}") for i in range(20)]
    with ThreadPoolExecutor(20) as pool, sqlite3.connect(orchestrator.directory / "nas.db") as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        calls = [pool.submit(refusal, lambda claim=claim: orchestrator.renew(claim)) for claim in claims]
        assert orchestrator.job(job.name).trial_counts.open == 20
        assert not any(call.done() for call in calls)
        codes = {call.result()[0] for call in calls}
        # They wait together, not one after the other.
        assert time.monotonic() - started < 3.0
        other.rollback()
    assert codes == {grpc.StatusCode.UNAVAILABLE}
    for claim in claims:
        orchestrator.renew(claim)


def test_a_store_that_somebody_else_has_locked_for_a_moment_is_waited_for(orchestrator):
    orchestrator.create(trials=1, parallel=1)
    claim = orchestrator.claim()
    with ThreadPoolExecutor(1) as pool, sqlite3.connect(orchestrator.directory / "nas.db") as other:
        other.execute("BEGIN IMMEDIATE")
        call = pool.submit(orchestrator.renew, claim)
        time.sleep(0.2)
        assert not call.done()
        other.rollback()
        assert call.result(5).lease.token == claim.lease.token


def test_a_full_disk_is_unavailable_stores_nothing_and_is_survived(orchestrator):
    job = orchestrator.create(trials=3, parallel=2)
    claim = orchestrator.claim()

    async def limit(pages: int) -> None:
        orchestrator.app._store._writer.cursor().execute(f"PRAGMA max_page_count = {pages}")

    orchestrator.run(limit(1))
    full = {"notes": "x" * 200_000}
    code, message = refusal(
        lambda: orchestrator.create(name="other", train=resources_pb2.TrainSpec(flags=full))
    )
    assert code == grpc.StatusCode.UNAVAILABLE
    assert "full" in message
    orchestrator.run(limit(1_000_000))
    assert (
        len(orchestrator.search.ListSearchJobs(search_service_pb2.ListSearchJobsRequest()).search_jobs) == 1
    )
    assert orchestrator.complete(claim, accuracy=0.5).state == Trial.SUCCEEDED
    assert orchestrator.job(job.name).trial_counts.open == 2


def test_a_job_that_takes_the_id_of_one_that_was_not_stored_proposes_by_its_own_seed(
    orchestrator, monkeypatch
):
    reference = orchestrator.create(trials=3, parallel=1, seed=2)
    expected = orchestrator.trial(f"{reference.name}/trials/1").nas_params_str
    orchestrator.cancel(reference.name)
    delete(orchestrator, reference)
    save_job = SqlTransaction.save_job

    def full(self, job):
        raise sa.exc.OperationalError("UPDATE", None, Exception("database or disk is full"))

    monkeypatch.setattr(SqlTransaction, "save_job", full)
    assert refusal(lambda: orchestrator.create(trials=3, seed=1))[0] == grpc.StatusCode.UNAVAILABLE
    monkeypatch.setattr(SqlTransaction, "save_job", save_job)
    job = orchestrator.create(trials=3, parallel=1, seed=2)
    assert orchestrator.trial(f"{job.name}/trials/1").nas_params_str == expected


def test_jobs_that_were_not_stored_do_not_fill_the_memory_with_plans(orchestrator, monkeypatch):
    def full(self, job):
        raise sa.exc.OperationalError("UPDATE", None, Exception("database or disk is full"))

    monkeypatch.setattr(proposals, "_MAX_PLANS", 2)
    monkeypatch.setattr(SqlTransaction, "save_job", full)
    for _ in range(4):
        orchestrator.now += 1
        assert refusal(orchestrator.create)[0] == grpc.StatusCode.UNAVAILABLE
    assert len(orchestrator.app.proposals._plans) == 2


@pytest.fixture
def vanishing_space(tmp_path, monkeypatch):
    """A search space of the user's own, and how it goes away."""
    module = tmp_path / "space_that_vanishes.py"
    module.write_text(
        "import pyglove as pg\n"
        "@pg.symbolize\n"
        "class Model:\n"
        "    def __init__(self, width): pass\n"
        "space = Model(pg.oneof([8, 16, 32]))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def vanish() -> None:
        module.unlink()
        sys.modules.pop(module.stem, None)
        registry.load.cache_clear()

    yield f"{module.stem}:space", vanish
    sys.modules.pop(module.stem, None)


def test_a_search_space_that_is_gone_after_a_restart_fails_its_own_job_and_no_other(
    orchestrator, vanishing_space
):
    space, vanish = vanishing_space
    job = orchestrator.create(trials=4, parallel=1, search_space=space)
    other = orchestrator.create(name="other", trials=2, parallel=1)
    claim = orchestrator.claim("a")
    orchestrator.stop()
    vanish()
    orchestrator.start()
    assert orchestrator.complete(claim, accuracy=0.5).state == Trial.SUCCEEDED
    ended = orchestrator.job(job.name)
    assert ended.state == Job.FAILED
    assert "space_that_vanishes" in ended.error_message
    assert orchestrator.complete(orchestrator.claim("b")).state == Trial.SUCCEEDED
    assert orchestrator.job(other.name).state == Job.RUNNING
    code, message = refusal(lambda: resume(orchestrator, job))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "space_that_vanishes" in message
    assert orchestrator.job(job.name).state == Job.FAILED


# Waiting claims


def test_every_one_of_many_waiting_claims_gets_exactly_one_of_as_many_tasks(orchestrator):
    waiting = 200
    with ThreadPoolExecutor(waiting) as pool:
        answers = [pool.submit(orchestrator.claim, f"w{i}", wait=30) for i in range(waiting)]
        wait_until(lambda: waiting_claims(orchestrator) == waiting)
        orchestrator.create(trials=waiting, parallel=waiting)
        names = [answer.result(30).task.name for answer in answers]
    assert len(set(names)) == waiting
    assert all(names)
    assert waiting_claims(orchestrator) == 0


def waiting_claims(orchestrator) -> int:
    async def count() -> int:
        return sum(map(len, orchestrator.app._wakeups._waiting.values()))

    return orchestrator.run(count())


def test_claims_that_hang_up_while_they_are_woken_lose_no_task(orchestrator):
    calls = []
    for i in range(40):
        request = task_service_pb2.ClaimTaskRequest(worker_id=f"ghost-{i}", kind="TRAIN")
        request.wait.seconds = 30
        calls.append(orchestrator.tasks.ClaimTask.future(request))
    wait_until(lambda: waiting_claims(orchestrator) == 40)
    hang_up = threading.Thread(target=lambda: [call.cancel() for call in calls])
    hang_up.start()
    job = orchestrator.create(trials=10, parallel=10)
    hang_up.join()
    received = {call.result().task.name for call in calls if not call.cancelled() and not call.exception()}
    wait_until(lambda: waiting_claims(orchestrator) == 0)
    left = 10 - len(received)
    # A lease whose answer was on its way when the caller hung up runs out by itself.
    found = {orchestrator.claim(f"alive-{i}", wait=0.5).task.name for i in range(left)} - {""}
    if len(found) < left:
        orchestrator.now += 61
        orchestrator.reap()
        found |= {orchestrator.claim(f"late-{i}", wait=0.5).task.name for i in range(10)} - {""}
    assert received | found == {f"{job.name}/trials/{number}/tasks/train" for number in range(1, 11)}


def test_a_claim_repeated_while_the_first_is_given_back_keeps_its_lease(orchestrator, monkeypatch):
    orchestrator.create(trials=1, parallel=1)
    commit, entered, go_on = SqlTransaction.commit, threading.Event(), threading.Event()

    def slow(self):
        entered.set()
        assert go_on.wait(10)
        commit(self)

    async def under_way() -> tuple[int, int]:
        return len(orchestrator.app._tasks._background), len(orchestrator.app._transactor._waiting)

    monkeypatch.setattr(SqlTransaction, "commit", slow)
    request = task_service_pb2.ClaimTaskRequest(worker_id="w", request_id="same", kind="TRAIN")
    first = orchestrator.tasks.ClaimTask.future(request)
    assert entered.wait(10)
    first.cancel()
    wait_until(lambda: orchestrator.run(under_way())[0] == 1)
    again = orchestrator.tasks.ClaimTask.future(request)
    wait_until(lambda: orchestrator.run(under_way())[1] >= 1)
    go_on.set()
    claim = again.result(10)
    assert claim.task.attempt == 1
    wait_until(lambda: orchestrator.run(under_way()) == (0, 0))
    assert not orchestrator.renew(claim).stop


# The machine's own clock


class Expired:
    """The transactions of a reaper, and the clock of a machine that itself sleeps during the second sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.did: list[str] = []

    async def write(self, use_case) -> int:
        self.did.append("reap")
        return 0

    async def read(self, query) -> float:
        return self.now + 40

    async def sleep(self, seconds: float) -> None:
        self.did.append(f"sleep {seconds:g}")
        self.now += 8 * 3600 if len(self.did) == 3 else seconds
        if len(self.did) > 5:
            raise asyncio.CancelledError


def test_workers_get_one_more_lease_to_renew_when_the_machine_slept(monkeypatch):
    machine = Expired()
    monkeypatch.setattr(reaper, "asyncio", SimpleNamespace(sleep=machine.sleep))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(reaper.Reaper(machine, None, 60.0, lambda: machine.now).run())
    assert machine.did == ["sleep 60", "reap", "sleep 40", "sleep 60", "reap", "sleep 40"]


def test_files_are_published_though_a_trial_before_them_cannot_be(orchestrator, monkeypatch):
    publish = scribe.publish

    def full(job, trial):
        if trial.number == 1:
            raise OSError(28, "No space left on device")
        publish(job, trial)

    monkeypatch.setattr(scribe, "publish", full)
    job = orchestrator.create(trials=2, parallel=1)
    for _ in range(2):
        orchestrator.complete(orchestrator.claim(wait=5))
    orchestrator.wait_until_told(job.name)
    (status,) = Path(job.output_dir).glob("nas/search/*/job_status.json")
    assert status.parent.name == "2"
    assert json.loads(status.read_text()) == {"job_status": "success"}
