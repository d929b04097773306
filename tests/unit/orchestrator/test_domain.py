"""Jobs, trials and tasks change only along the lines of the table in `nas_orchestrator.domain`."""

import pytest

from nas_orchestrator import domain
from nas_orchestrator.domain.job import AlgorithmSpec, Job, JobSpec, JobState, Limits, output_dir_for
from nas_orchestrator.domain.names import parse_job_name, parse_task_name, parse_trial_name, task_name
from nas_orchestrator.domain.task import MAX_LOSSES, Task, TaskKind, TaskState
from nas_orchestrator.domain.trial import Trial, TrialState
from nas_shared.errors import FailedPrecondition, InvalidArgument, LeaseLost
from nas_shared.reward import RewardSpec

TRIAL_MOVES = {
    "start": lambda trial: trial.start(1.0),
    "succeed": lambda trial: trial.succeed(0.5, 1, 2.0),
    "reject": lambda trial: trial.reject("NAN_LOSS", "NaN", 1, 2.0),
    "fail": lambda trial: trial.fail("INTERNAL", "no", 1, 2.0),
    "stop": lambda trial: trial.stop(),
    "cancel": lambda trial: trial.cancel(2.0),
}
ALLOWED_TRIAL_MOVES = {
    ("REQUESTED", "start"): "ACTIVE",
    ("ACTIVE", "succeed"): "SUCCEEDED",
    ("ACTIVE", "reject"): "INFEASIBLE",
    ("REQUESTED", "fail"): "FAILED",
    ("ACTIVE", "fail"): "FAILED",
    ("REQUESTED", "stop"): "STOPPING",
    ("ACTIVE", "stop"): "STOPPING",
    ("STOPPING", "cancel"): "CANCELLED",
}


def new_trial(state: TrialState = TrialState.REQUESTED) -> Trial:
    return Trial(1, 1, (0, 1), "{}", 0, 0.0, state=state)


def new_job(trials: int = 3, parallel: int = 2, failed: int = 0) -> Job:
    spec = JobSpec("mnasnet", AlgorithmSpec(), RewardSpec("accuracy"), Limits(trials, parallel, failed))
    return Job(7, "digits", spec, 0.0)


def settle(job: Job, *outcomes: str) -> None:
    """Requests one trial per outcome and has it end so."""
    for outcome in outcomes:
        trial = job.request_trial((0,), "{}", 0, 0.0)
        if outcome == "cancel":
            trial.stop()
        else:
            trial.start(1.0)
        TRIAL_MOVES[outcome](trial)
        job.settle(trial, 2.0)
    job.finish(2.0)


@pytest.mark.parametrize("state", list(TrialState))
@pytest.mark.parametrize("move", list(TRIAL_MOVES))
def test_a_trial_moves_only_along_the_table(state, move):
    trial = new_trial(state)
    expected = ALLOWED_TRIAL_MOVES.get((state, move))
    if expected is None and move != "start":
        with pytest.raises(FailedPrecondition, match=rf"trials/1 is {state}"):
            TRIAL_MOVES[move](trial)
    else:
        TRIAL_MOVES[move](trial)
    assert trial.state == (expected or state)


def test_every_method_of_the_table_exists():
    for name in ("Job.settle", "Job.fail", "Job.cancel", "Job.resume", "Job.request_trial"):
        assert f"`{name}`" in domain.__doc__
        assert hasattr(Job, name.split(".")[1])
    for method in ALLOWED_TRIAL_MOVES:
        assert f"`Trial.{method[1]}`" in domain.__doc__
    for method in ("lease", "renew", "complete", "fail", "requeue", "cancel"):
        assert f"`Task.{method}`" in domain.__doc__
        assert hasattr(Task, method)


def test_a_lease_is_held_by_its_token_alone():
    task = Task(1, 1, TaskKind.TRAIN, "")
    task.lease("worker", "secret", "claim", expiry=10.0)
    for call in (task.renew, lambda token, _: task.complete(token), lambda token, _: task.fail(token)):
        with pytest.raises(LeaseLost, match="tasks/train is LEASED"):
            call("guess", 20.0)
    task.renew("secret", 20.0)
    assert task.lease_expiry == 20.0
    assert task.complete("secret")
    assert not task.complete("secret"), "a repeated completion is recognised"
    with pytest.raises(LeaseLost):
        task.complete("guess")


def test_a_leased_task_cannot_be_leased_again():
    task = Task(1, 1, TaskKind.TRAIN, "")
    task.lease("a", "t", "c", 1.0)
    with pytest.raises(FailedPrecondition, match="LEASED"):
        task.lease("b", "u", "d", 1.0)


def test_losses_end_a_task_but_releases_do_not():
    task = Task(1, 1, TaskKind.TRAIN, "")
    for _ in range(MAX_LOSSES + 2):
        task.lease("w", "t", "c", 1.0)
        assert task.requeue(lost=False)
    for remaining in reversed(range(MAX_LOSSES)):
        task.lease("w", "t", "c", 1.0)
        assert task.requeue(lost=True) == (remaining > 0)
    assert task.state is TaskState.FAILED
    assert task.attempt == 2 * MAX_LOSSES + 2
    with pytest.raises(LeaseLost):
        task.complete("t")


def test_a_queued_task_asked_to_stop_is_cancelled_and_a_leased_one_told():
    queued, leased = Task(1, 1, TaskKind.TRAIN, ""), Task(1, 2, TaskKind.TRAIN, "")
    leased.lease("w", "t", "c", 1.0)
    for task in (queued, leased):
        task.request_stop()
    assert queued.state is TaskState.CANCELLED
    assert leased.state is TaskState.LEASED
    assert leased.stop_requested


def test_a_job_asks_for_trials_only_while_a_slot_and_a_trial_are_left():
    job = new_job(trials=3, parallel=2)
    assert job.wants_trial
    first, second = (job.request_trial((0,), "{}", 0, 0.0) for _ in range(2))
    assert not job.wants_trial
    for trial in (first, second):
        trial.start(1.0)
        trial.succeed(0.1 * trial.number, trial.number, 2.0)
        job.settle(trial, 2.0)
    assert job.wants_trial
    assert not job.wants_train_trial
    settle(job, "succeed")
    assert not job.wants_trial
    assert job.state is JobState.SUCCEEDED
    assert (job.counts.created, job.counts.settled, job.counts.open) == (3, 3, 0)


def test_cancelled_trials_do_not_count_towards_the_end():
    job = new_job(trials=2)
    settle(job, "cancel", "cancel", "succeed")
    assert job.state is JobState.RUNNING
    settle(job, "succeed")
    assert job.state is JobState.SUCCEEDED


def test_failed_trials_count_towards_the_end_and_towards_their_own_limit():
    job = new_job(trials=3, failed=2)
    settle(job, "fail", "succeed")
    assert job.state is JobState.RUNNING
    settle(job, "fail")
    assert job.state is JobState.FAILED
    assert "2 of 3 trials failed" in job.error_message


def test_without_a_limit_only_a_job_whose_trials_all_failed_fails():
    job = new_job(trials=2)
    settle(job, "fail", "succeed")
    assert job.state is JobState.SUCCEEDED
    job = new_job(trials=2)
    settle(job, "fail", "fail")
    assert job.state is JobState.FAILED


def test_the_best_trial_is_the_first_with_the_highest_reward():
    job = new_job(trials=3)
    settle(job, "succeed", "succeed")
    assert (job.best_trial, job.best_reward) == (1, 0.5)


def test_an_open_trial_cannot_be_counted():
    job = new_job()
    trial = job.request_trial((0,), "{}", 0, 0.0)
    with pytest.raises(FailedPrecondition, match="REQUESTED"):
        job.settle(trial, 1.0)


def test_a_cancelling_job_cannot_be_resumed_before_it_is_cancelled():
    job = new_job()
    trial = job.request_trial((0,), "{}", 0, 0.0)
    job.cancel(1.0)
    with pytest.raises(FailedPrecondition, match="CANCELLING"):
        job.resume(None, "", 2.0)
    trial.stop()
    trial.cancel(2.0)
    job.settle(trial, 2.0)
    assert job.state is JobState.CANCELLED
    assert job.resume(None, "", 3.0)
    assert not job.resume(None, "", 3.0)
    assert job.end_time is None


def test_a_resume_below_what_has_failed_already_names_the_limit():
    job = new_job(trials=5, failed=1)
    settle(job, "fail")
    with pytest.raises(InvalidArgument, match="max_failed_trial_count"):
        job.resume(Limits(5, 1, 1), "", 3.0)
    assert job.state is JobState.FAILED
    assert job.resume(Limits(5, 1, 2), "", 3.0)


def test_the_output_directory_carries_name_and_utc_time():
    assert output_dir_for("/data/", "digits", 1_700_000_000.9) == "/data/digits_20231114_221320"
    assert output_dir_for("", "digits", 0.0) == ""


def test_names_and_their_parts_are_each_others_inverse():
    name = task_name(12, 3, "measure")
    assert parse_task_name(name) == (12, 3, "measure")
    assert parse_trial_name(name.removesuffix("/tasks/measure")) == (12, 3)
    assert parse_job_name("searchJobs/12") == 12
    for wrong in ("searchJobs/12/", "searchJobs/12/trials/03", "searchJobs/99999999999999999999"):
        with pytest.raises(InvalidArgument, match="expected searchJobs"):
            parse_job_name(wrong)
