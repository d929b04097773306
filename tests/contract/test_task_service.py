"""TaskService over a real channel: leases, exactly-once, and what is refused."""

import threading
import time

import grpc
import pytest
from nas.v1 import resources_pb2, search_service_pb2, task_service_pb2

from nas_orchestrator.domain.task import MAX_LOSSES
from nas_shared.rpc import error_reason

Trial, Job = resources_pb2.Trial, resources_pb2.SearchJob


def assert_lease_lost(call) -> None:
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_reason(error.value) == "LEASE_LOST"


def measured_claim(orchestrator):
    """A training that has reported its SavedModel, and the measurement that was born."""
    train = orchestrator.claim("trainer")
    orchestrator.report(train, saved_model_dir=f"{train.task.train.attempt_dir}/untrained/saved_model")
    return train, orchestrator.claim("calculator", kind="MEASURE")


def test_a_claim_carries_all_a_trainer_needs(orchestrator):
    job = orchestrator.create(
        train=resources_pb2.TrainSpec(flags={"model": "classification", "ünïcode": "a=b c"}), measured=True
    )
    claim = orchestrator.claim()
    assert claim.task.name == f"{job.name}/trials/1/tasks/train"
    assert claim.task.attempt == 1
    work = claim.task.train
    assert work.trial_dir == f"{job.output_dir}/nas/search/1"
    assert work.attempt_dir == f"{work.trial_dir}/attempts/1"
    assert dict(work.spec.flags) == {"model": "classification", "ünïcode": "a=b c"}
    assert (work.search_space, work.reward_metric, work.measured) == ("mnasnet", "accuracy", True)
    assert work.nas_params_str == orchestrator.trial(f"{job.name}/trials/1").nas_params_str
    assert orchestrator.trial(f"{job.name}/trials/1").state == Trial.ACTIVE


def test_two_workers_never_hold_one_task(orchestrator):
    orchestrator.create(trials=2, parallel=2)
    names = {orchestrator.claim(f"w{i}").task.name for i in range(3)}
    assert len(names) == 3
    assert "" in names


def test_a_claim_repeated_after_a_lost_answer_gets_the_same_lease(orchestrator):
    orchestrator.create(trials=2, parallel=2)
    first = orchestrator.claim(request_id="same")
    again = orchestrator.claim(request_id="same")
    assert again.task.name == first.task.name
    assert again.lease.token == first.lease.token


def test_a_worker_that_claims_anew_gives_up_what_it_held(orchestrator):
    orchestrator.create(trials=2, parallel=1)
    lost = orchestrator.claim("w")
    again = orchestrator.claim("w")
    assert again.task.name == lost.task.name
    assert again.task.attempt == 2
    assert_lease_lost(lambda: orchestrator.complete(lost))


def test_a_waiting_claim_wakes_when_a_job_brings_a_task(orchestrator):
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(orchestrator.claim(wait=30)))
    waiting.start()
    orchestrator.create()
    waiting.join(10)
    assert answers
    assert answers[0].task.name.endswith("/trials/1/tasks/train")


def test_a_claim_without_work_is_answered_empty_when_its_wait_is_over(orchestrator):
    started = time.monotonic()
    assert not orchestrator.claim(wait=0.2).HasField("task")
    assert 0.15 < time.monotonic() - started < 5


def test_a_claim_whose_caller_hung_up_leaves_no_lease_behind(orchestrator):
    request = task_service_pb2.ClaimTaskRequest(worker_id="ghost", kind="TRAIN")
    request.wait.seconds = 30
    call = orchestrator.tasks.ClaimTask.future(request)
    time.sleep(0.2)
    call.cancel()
    orchestrator.create(trials=1, parallel=1)
    claim = orchestrator.claim("alive", wait=5)
    assert claim.task.name.endswith("/trials/1/tasks/train")


def test_a_task_claimed_by_name_goes_to_one_claimant_only(orchestrator):
    job = orchestrator.create(trials=2, parallel=2)
    name = f"{job.name}/trials/2/tasks/train"
    assert orchestrator.claim("a", task=name).task.name == name
    assert not orchestrator.claim("b", task=name).HasField("task")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"worker": ""}, "worker_id"),
        ({"worker": "w" * 129}, "worker_id"),
        ({"kind": "KIND_UNSPECIFIED"}, "kind"),
        ({"kind": "MEASURE", "device_type": ""}, "device_type"),
        ({"task": "searchJobs/1/trials/1/tasks/eat"}, "tasks/{train|measure}"),
    ],
)
def test_a_wrong_claim_is_refused_with_the_field(orchestrator, arguments, field):
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.claim(**arguments)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in error.value.details()


def test_a_claim_by_name_on_the_wrong_device_says_what_is_needed(orchestrator):
    job = orchestrator.create(
        train=resources_pb2.TrainSpec(accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1)
    )
    assert not orchestrator.claim().HasField("task")
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.claim(task=f"{job.name}/trials/1/tasks/train")
    assert "NVIDIA_TESLA_T4" in error.value.details()
    assert orchestrator.claim(device_type="NVIDIA_TESLA_T4").HasField("task")


def test_a_lease_that_ran_out_is_taken_back_and_its_late_writer_refused(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    late = orchestrator.claim("late")
    orchestrator.now += 61
    assert orchestrator.reap() == 1
    fresh = orchestrator.claim("fresh")
    assert fresh.task.attempt == 2
    assert fresh.task.train.attempt_dir.endswith("/attempts/2")
    for call in (
        lambda: orchestrator.renew(late),
        lambda: orchestrator.report(late, loss=1.0),
        lambda: orchestrator.complete(late, accuracy=0.99),
        lambda: orchestrator.fail(late),
        lambda: orchestrator.release(late),
    ):
        assert_lease_lost(call)
    trial = orchestrator.trial(f"{job.name}/trials/1")
    assert trial.state == Trial.ACTIVE
    assert not trial.metrics
    assert not trial.HasField("latest_measurement")
    assert orchestrator.complete(fresh, accuracy=0.25).reward == 0.25


def test_a_renewed_lease_stays(orchestrator):
    orchestrator.create()
    claim = orchestrator.claim()
    for _ in range(5):
        orchestrator.now += 50
        assert not orchestrator.renew(claim).stop
        assert orchestrator.reap() == 0


def test_a_lease_that_ran_out_but_was_not_taken_back_can_still_be_renewed(orchestrator):
    orchestrator.create()
    claim = orchestrator.claim()
    orchestrator.now += 500
    orchestrator.renew(claim)
    assert orchestrator.reap() == 0


def test_a_trial_whose_workers_keep_dying_fails_at_last(orchestrator):
    job = orchestrator.create(trials=2, parallel=1)
    for attempt in range(1, MAX_LOSSES + 1):
        assert orchestrator.claim().task.attempt == attempt
        orchestrator.now += 61
        orchestrator.reap()
    trial = orchestrator.trial(f"{job.name}/trials/1")
    assert trial.state == Trial.FAILED
    assert trial.failure_reason == resources_pb2.LEASE_EXPIRED
    assert "worker-1" in trial.error_message
    assert orchestrator.claim().task.name == f"{job.name}/trials/2/tasks/train"


def test_a_released_task_goes_on_elsewhere_without_counting_as_a_loss(orchestrator):
    orchestrator.create(trials=1, parallel=1)
    for attempt in range(1, MAX_LOSSES + 3):
        claim = orchestrator.claim(f"w{attempt}")
        assert claim.task.attempt == attempt
        orchestrator.release(claim)


def test_a_completion_repeated_after_a_lost_answer_is_answered_again_and_counted_once(orchestrator):
    job = orchestrator.create(trials=2, parallel=1)
    claim = orchestrator.claim()
    first = orchestrator.complete(claim, accuracy=0.5)
    again = orchestrator.complete(claim, accuracy=0.9)
    assert first.reward == again.reward == 0.5
    counts = orchestrator.job(job.name).trial_counts
    assert (counts.created, counts.succeeded) == (2, 1)


def test_a_token_of_another_task_is_refused(orchestrator):
    orchestrator.create(trials=2, parallel=2)
    first, second = orchestrator.claim("a"), orchestrator.claim("b")
    mixed = task_service_pb2.ClaimTaskResponse(task=first.task, lease=second.lease)
    assert_lease_lost(lambda: orchestrator.complete(mixed))


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"loss": 1.0}, "accuracy"),
        ({"accuracy": float("nan")}, "finite"),
        ({"accuracy": float("inf")}, "finite"),
    ],
)
def test_a_completion_without_a_usable_reward_metric_is_refused_and_the_lease_stays(
    orchestrator, metrics, expected
):
    job = orchestrator.create()
    claim = orchestrator.claim()
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.complete(claim, **metrics)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert expected in error.value.details()
    assert orchestrator.trial(f"{job.name}/trials/1").state == Trial.ACTIVE
    orchestrator.renew(claim)


def test_the_reward_waits_for_training_and_measurement_in_either_order(orchestrator):
    reward = resources_pb2.RewardSpec(
        metric="accuracy", latency_ms=resources_pb2.Target(value=10, form="HARD")
    )
    orchestrator.create(trials=2, parallel=1, reward=reward, measured=True)
    train, measure = measured_claim(orchestrator)
    assert measure.task.measure.saved_model_dir.endswith("/nas/search/1/attempts/1/untrained/saved_model")
    assert orchestrator.complete(measure, latency_p50_ms=20.0, memory_bytes=1.0).state == Trial.ACTIVE
    assert orchestrator.complete(train, accuracy=0.8).reward == pytest.approx(0.4)
    train, measure = measured_claim(orchestrator)
    assert orchestrator.complete(train, accuracy=0.8).state == Trial.ACTIVE
    assert orchestrator.complete(measure, latency_p50_ms=5.0, memory_bytes=1.0).reward == pytest.approx(0.8)


def test_a_saved_model_reported_twice_is_measured_once(orchestrator):
    orchestrator.create(trials=1, parallel=1, measured=True)
    train, _ = measured_claim(orchestrator)
    orchestrator.report(train, saved_model_dir=f"{train.task.train.attempt_dir}/saved_model")
    assert not orchestrator.claim("other", kind="MEASURE").HasField("task")


@pytest.mark.parametrize("path", ["/etc", "{attempt}/../../2/attempts/1/saved_model"])
def test_a_saved_model_outside_the_attempt_is_refused(orchestrator, path):
    orchestrator.create(measured=True)
    claim = orchestrator.claim()
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.report(claim, saved_model_dir=path.format(attempt=claim.task.train.attempt_dir))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not orchestrator.claim("calculator", kind="MEASURE").HasField("task")


def test_a_training_that_never_reported_a_model_cannot_complete_in_a_measured_job(orchestrator):
    orchestrator.create(measured=True)
    claim = orchestrator.claim()
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.complete(claim)
    assert "no SavedModel was reported" in error.value.details()


def test_a_failed_measurement_fails_the_trial_and_stops_its_training(orchestrator):
    job = orchestrator.create(trials=2, parallel=1, measured=True)
    train, measure = measured_claim(orchestrator)
    failed = orchestrator.fail(measure, reason="INVALID_MODEL", message="crashed")
    assert failed.state == Trial.FAILED
    assert orchestrator.renew(train).stop
    orchestrator.release(train)
    counts = orchestrator.job(job.name).trial_counts
    assert (counts.failed, counts.open, counts.created) == (1, 1, 2)


def test_a_failure_worth_another_try_is_queued_again_until_it_is_not(orchestrator):
    job = orchestrator.create(trials=2, parallel=1)
    for _ in range(MAX_LOSSES):
        last = orchestrator.fail(orchestrator.claim(), message="out of luck", retryable=True)
    assert last.state == Trial.FAILED
    assert last.error_message == "out of luck"
    assert orchestrator.job(job.name).trial_counts.failed == 1


def test_an_infeasible_trial_settles_without_counting_as_failed(orchestrator):
    job = orchestrator.create(trials=1, parallel=1, max_failed=1)
    trial = orchestrator.fail(orchestrator.claim(), reason="NAN_LOSS", message="NaN", infeasible=True)
    assert trial.state == Trial.INFEASIBLE
    assert trial.infeasible_reason == "NaN"
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_too_many_failures_fail_the_job_and_stop_the_open_trials(orchestrator):
    job = orchestrator.create(trials=10, parallel=3, max_failed=2)
    claims = [orchestrator.claim(f"w{i}") for i in range(3)]
    for claim in claims[:2]:
        orchestrator.fail(claim, message="no luck")
    ended = orchestrator.job(job.name)
    assert ended.state == Job.FAILED
    assert "2 of 2 trials failed" in ended.error_message
    assert "no luck" in ended.error_message
    assert orchestrator.renew(claims[2]).stop
    orchestrator.release(claims[2])
    assert orchestrator.job(job.name).trial_counts.open == 0
    assert not orchestrator.claim().HasField("task")


def test_a_job_that_is_wrong_itself_fails_at_its_first_trial(orchestrator):
    job = orchestrator.create(trials=10, parallel=2)
    claim = orchestrator.claim()
    orchestrator.fail(claim, reason="INVALID_JOB", message="training_data_path: nothing matches")
    ended = orchestrator.job(job.name)
    assert ended.state == Job.FAILED
    assert ended.error_message == "training_data_path: nothing matches"
    assert ended.trial_counts.open == 0


def test_a_job_never_has_more_than_its_trials_open_or_settled(orchestrator):
    job = orchestrator.create(trials=5, parallel=3)
    settled = 0
    while True:
        claims = [claim for i in range(4) if (claim := orchestrator.claim(f"w{i}")).HasField("task")]
        if not claims:
            break
        assert len(claims) <= 3
        for claim in claims:
            orchestrator.complete(claim)
            settled += 1
    assert settled == 5
    counts = orchestrator.job(job.name).trial_counts
    assert (counts.created, counts.succeeded, counts.open) == (5, 5, 0)


def test_after_a_restart_leases_hold_and_the_search_goes_on(orchestrator):
    job = orchestrator.create(trials=3, parallel=2, measured=True)
    train, measure = measured_claim(orchestrator)
    orchestrator.restart()
    assert not orchestrator.renew(train).stop
    orchestrator.complete(measure, latency_p50_ms=1.0)
    assert orchestrator.complete(train, accuracy=0.5).state == Trial.SUCCEEDED
    for _ in range(2):
        train, measure = measured_claim(orchestrator)
        orchestrator.complete(measure, latency_p50_ms=1.0)
        orchestrator.complete(train, accuracy=0.5)
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_a_worker_lost_while_its_trial_was_stopping_ends_the_trial(orchestrator):
    job = orchestrator.create(trials=2, parallel=1)
    orchestrator.claim()
    orchestrator.cancel(job.name)
    orchestrator.now += 61
    orchestrator.reap()
    assert orchestrator.job(job.name).state == Job.CANCELLED


def test_work_on_a_deleted_job_is_answered_not_found(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    claim = orchestrator.claim()
    orchestrator.fail(claim, reason="INVALID_JOB", message="wrong")
    orchestrator.search.DeleteSearchJob(search_service_pb2.DeleteSearchJobRequest(name=job.name))
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.renew(claim)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
