"""Stage 2 over a real channel: which trials are trained, when, and what becomes of the job."""

import grpc
import pytest
from google.protobuf import duration_pb2
from nas.v1 import resources_pb2, search_service_pb2

Trial, Job = resources_pb2.Trial, resources_pb2.SearchJob
LEASE_SECONDS = 60.0


def stage(frequency=2, parallel=1, trials=(), **train):
    return resources_pb2.TrainStage(
        train=resources_pb2.TrainSpec(**train),
        frequency=frequency,
        max_parallel_trial_count=parallel,
        trials=trials,
    )


def run(orchestrator, *accuracies, worker="w"):
    """Completes the next trainings with these accuracies; the trials in the order they were claimed."""
    return [orchestrator.complete(orchestrator.claim(worker), accuracy=accuracy) for accuracy in accuracies]


def sources(orchestrator, job):
    return [
        int(trial.source_trial.rpartition("/")[2])
        for trial in orchestrator.trials(job.name)
        if trial.stage == Trial.TRAIN
    ]


def refused(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def test_after_every_frequency_trials_the_best_untrained_goes_to_stage_2(orchestrator):
    job = orchestrator.create(
        trials=4, parallel=1, train_stage=stage(frequency=2, parallel=1, flags={"a": "1"})
    )
    run(orchestrator, 0.2, 0.7)
    claims = [orchestrator.claim(f"w{i}") for i in range(2)]
    works = {claim.task.train.trial_number: claim for claim in claims}
    # Trial 3 goes on with the search, trial 4 trains the second fully; beside each other.
    assert works[3].task.train.stage == Trial.SEARCH
    train = works[4].task.train
    assert train.stage == Trial.TRAIN
    assert dict(train.spec.flags) == {"a": "1"}
    assert train.trial_dir == f"{job.output_dir}/nas/train/4"
    assert train.source_trial_dir == f"{job.output_dir}/nas/search/2"
    second = orchestrator.trial(f"{job.name}/trials/2")
    assert train.nas_params_str == second.nas_params_str
    assert orchestrator.trial(f"{job.name}/trials/4").source_trial == second.name
    orchestrator.complete(works[3], accuracy=0.1)
    orchestrator.complete(works[4], accuracy=0.9)
    run(orchestrator, 0.3, 0.8)
    # The second round trains the best of those that were not trained: of 0.2, 0.1 and 0.3 the last.
    assert sources(orchestrator, job) == [2, 5]
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_the_rest_of_a_search_makes_one_more_round(orchestrator):
    job = orchestrator.create(trials=3, parallel=1, train_stage=stage(frequency=2, parallel=1))
    run(orchestrator, 0.5, 0.9, 0.6)
    while orchestrator.job(job.name).state == Job.RUNNING:
        run(orchestrator, 0.7)
    assert sorted(sources(orchestrator, job)) in ([2, 3], [1, 2])
    counts = orchestrator.job(job.name).train_trial_counts
    assert (counts.created, counts.succeeded, counts.open) == (2, 2, 0)


def test_stage_2_trains_a_network_once_and_ends_when_none_is_left(orchestrator):
    job = orchestrator.create(trials=2, parallel=1, train_stage=stage(frequency=1, parallel=5))
    for _ in range(4):
        run(orchestrator, 0.5)
    assert sorted(sources(orchestrator, job)) == [1, 2]
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_stage_2_keeps_within_its_own_slots(orchestrator):
    job = orchestrator.create(trials=4, parallel=4, train_stage=stage(frequency=4, parallel=2))
    claims = [orchestrator.claim(f"w{i}") for i in range(4)]
    for i, claim in enumerate(claims):
        orchestrator.complete(claim, accuracy=0.1 * (i + 1))
    job = orchestrator.job(job.name)
    assert job.state == Job.RUNNING
    assert job.train_trial_counts.open == 2
    assert sources(orchestrator, job) == [4, 3]


def test_stage_2_changes_no_proposal_and_not_the_best_trial(orchestrator):
    plain = orchestrator.create("plain", trials=5, parallel=1)
    run(orchestrator, 0.1, 0.2, 0.3, 0.4, 0.5)
    staged = orchestrator.create("staged", trials=5, parallel=1, train_stage=stage(frequency=1, parallel=1))
    value = 0
    while orchestrator.job(staged.name).state == Job.RUNNING:
        claim = orchestrator.claim("w")
        value += claim.task.train.stage == Trial.SEARCH
        is_train = claim.task.train.stage == Trial.TRAIN
        orchestrator.complete(claim, accuracy=0.99 if is_train else 0.1 * value)
    proposed = [
        [t.nas_params_str for t in orchestrator.trials(job.name) if t.stage == Trial.SEARCH]
        for job in (plain, staged)
    ]
    assert proposed[0] == proposed[1]
    best = orchestrator.job(staged.name)
    assert best.best_reward == pytest.approx(0.5)
    assert orchestrator.trial(best.best_trial).stage == Trial.SEARCH


def test_a_failed_training_fails_the_job_only_when_all_of_stage_2_failed(orchestrator):
    job = orchestrator.create(trials=2, parallel=1, train_stage=stage(frequency=2, parallel=2))
    run(orchestrator, 0.5, 0.6)
    orchestrator.fail(orchestrator.claim("a"), message="out of luck")
    run(orchestrator, 0.9)
    assert orchestrator.job(job.name).state == Job.SUCCEEDED
    job = orchestrator.create("all", trials=1, parallel=1, train_stage=stage(frequency=1, parallel=1))
    run(orchestrator, 0.5)
    orchestrator.fail(orchestrator.claim("a"), message="out of luck")
    job = orchestrator.job(job.name)
    assert job.state == Job.FAILED
    assert job.error_message == "all 1 trials of stage 2 failed"


def test_wrong_flags_of_stage_2_end_the_job_at_once(orchestrator):
    job = orchestrator.create(trials=5, parallel=1, train_stage=stage(frequency=1, parallel=1))
    run(orchestrator, 0.5)
    claims = [orchestrator.claim(f"w{i}") for i in range(2)]
    train = next(claim for claim in claims if claim.task.train.stage == Trial.TRAIN)
    orchestrator.fail(train, reason="INVALID_JOB", message="params_override: no file x")
    job = orchestrator.job(job.name)
    assert job.state == Job.FAILED
    assert "params_override: no file x" in job.error_message


def test_a_lost_training_of_stage_2_goes_to_the_next_worker(orchestrator):
    job = orchestrator.create(trials=1, parallel=1, train_stage=stage(frequency=1, parallel=1))
    run(orchestrator, 0.5)
    orchestrator.claim("dies")
    orchestrator.now += LEASE_SECONDS + 1
    assert orchestrator.reap() == 1
    again = orchestrator.claim("lives")
    assert again.task.attempt == 2
    assert again.task.train.attempt_dir == f"{job.output_dir}/nas/train/2/attempts/2"
    orchestrator.complete(again, accuracy=0.9)
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_a_cancelled_training_of_stage_2_is_made_up_for_when_the_job_resumes(orchestrator):
    job = orchestrator.create(trials=1, parallel=1, train_stage=stage(frequency=1, parallel=1))
    run(orchestrator, 0.5)
    claim = orchestrator.claim("w")
    orchestrator.cancel(job.name)
    assert orchestrator.renew(claim).stop
    orchestrator.release(claim)
    assert orchestrator.job(job.name).state == Job.CANCELLED
    resumed = orchestrator.search.ResumeSearchJob(search_service_pb2.ResumeSearchJobRequest(name=job.name))
    assert resumed.state == Job.RUNNING
    run(orchestrator, 0.9)
    job = orchestrator.job(job.name)
    assert job.state == Job.SUCCEEDED
    assert (job.train_trial_counts.cancelled, job.train_trial_counts.succeeded) == (1, 1)


def test_a_search_that_runs_on_trains_what_it_finds_then(orchestrator):
    job = orchestrator.create(trials=2, parallel=1, train_stage=stage(frequency=2, parallel=1))
    run(orchestrator, 0.5, 0.4, 0.9)
    assert orchestrator.job(job.name).state == Job.SUCCEEDED
    limits = resources_pb2.Limits(max_trial_count=3, max_parallel_trial_count=1)
    orchestrator.search.ResumeSearchJob(
        search_service_pb2.ResumeSearchJobRequest(name=job.name, limits=limits)
    )
    run(orchestrator, 0.6, 0.9)
    assert sources(orchestrator, job) == [1, 4]
    assert orchestrator.job(job.name).state == Job.SUCCEEDED


def test_chosen_trials_are_trained_in_their_order_by_a_job_that_searches_nothing(orchestrator):
    searched = orchestrator.create(trials=3, parallel=1)
    trials = run(orchestrator, 0.1, 0.2, 0.3)
    chosen = [f"{searched.name}/trials/{number}" for number in (3, 1)]
    job = orchestrator.create("chosen", trials=0, parallel=0, train_stage=stage(trials=chosen))
    claim = orchestrator.claim("w")
    assert claim.task.train.trial_number == 1
    assert claim.task.train.nas_params_str == trials[2].nas_params_str
    assert claim.task.train.source_trial_dir == f"{searched.output_dir}/nas/search/3"
    orchestrator.complete(claim)
    run(orchestrator, 0.5)
    job = orchestrator.job(job.name)
    assert job.state == Job.SUCCEEDED
    assert job.trial_counts.created == 0
    assert [t.source_trial for t in orchestrator.trials(job.name)] == chosen


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((9,), "trials/9 does not exist"), ((1, 1), "trials/1 twice"), ((2,), "trials/2 is FAILED")],
)
def test_a_trial_that_cannot_be_trained_is_named_and_nothing_is_stored(orchestrator, numbers, message):
    searched = orchestrator.create(trials=2, parallel=1)
    run(orchestrator, 0.5)
    orchestrator.fail(orchestrator.claim("w"))
    chosen = [f"{searched.name}/trials/{number}" for number in numbers]
    code, details = refused(lambda: orchestrator.create("chosen", train_stage=stage(trials=chosen)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in details
    jobs = orchestrator.search.ListSearchJobs(search_service_pb2.ListSearchJobsRequest()).search_jobs
    assert [job.name for job in jobs] == [searched.name]


def test_measured_stage_2_is_measured_too_and_leaves_its_files(orchestrator):
    job = orchestrator.create(
        trials=1, parallel=1, measured=True, train_stage=stage(frequency=1, parallel=1, flags={"b": "2"})
    )
    for _ in range(2):
        train = orchestrator.claim("trainer")
        assert train.task.train.measured
        orchestrator.report(train, saved_model_dir=f"{train.task.train.attempt_dir}/untrained/saved_model")
        orchestrator.complete(orchestrator.claim("device", kind="MEASURE"), latency_p50_ms=5.0)
        orchestrator.complete(train, accuracy=0.5)
    seen = orchestrator.wait_until_told(job.name)
    assert seen[-1].search_job.state == Job.SUCCEEDED
    stages = {trial.name.rpartition("/")[2]: trial.stage for trial in orchestrator.trials(job.name)}
    assert stages == {"1": Trial.SEARCH, "2": Trial.TRAIN}
    assert (orchestrator.directory / job.output_dir / "nas" / "train" / "2" / "job_status.json").exists()


def test_a_users_own_trainer_is_run_by_runners_alone_and_keeps_its_model_where_it_was_told(orchestrator):
    program = resources_pb2.Program(image="mine:1", timeout=duration_pb2.Duration(seconds=90))
    job = orchestrator.create(
        trials=1, parallel=1, measured=True, train=resources_pb2.TrainSpec(program=program)
    )
    assert not orchestrator.claim("prebuilt").task.name
    claim = orchestrator.claim("runner", device_type="program")
    assert claim.task.train.spec.program == program
    code, details = refused(
        lambda: orchestrator.report(claim, saved_model_dir=f"{claim.task.train.attempt_dir}/model")
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"{claim.task.train.trial_dir}/model" in details
    orchestrator.report(claim, saved_model_dir=f"{claim.task.train.trial_dir}/model")
    assert orchestrator.claim("device", kind="MEASURE").task.measure.saved_model_dir.endswith("/1/model")
    assert orchestrator.job(job.name).spec.train.program == program


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train": resources_pb2.TrainSpec(program=resources_pb2.Program())}, "spec.train.program"),
        ({"train_stage": stage(accelerator_type="T4")}, "spec.train_stage.train: found accelerator_type"),
        ({"train_stage": stage(frequency=-1)}, "spec.train_stage.frequency: found -1"),
        ({"train_stage": stage(parallel=-1)}, "max_parallel_trial_count: found -1"),
        ({"train_stage": stage(trials=["x"])}, "spec.train_stage.trials: name: found 'x'"),
    ],
)
def test_a_wrong_stage_2_is_refused_by_field(orchestrator, overrides, message):
    code, details = refused(lambda: orchestrator.create(**overrides))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in details
