"""How trials are born, settle and stop, and what that means for their job."""

import math

from nas_orchestrator.domain.events import JobChanged, TaskReady, TrialChanged
from nas_orchestrator.domain.job import Job, JobState
from nas_orchestrator.domain.task import Task, TaskKind, TaskState
from nas_orchestrator.domain.trial import Trial, TrialState
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases.stage2 import next_to_train
from nas_orchestrator.usecases.store import Transaction
from nas_shared import reward
from nas_shared.search_spaces import SearchSpaceError


def fill_slots(tx: Transaction, job: Job, proposals: Proposals, now: float) -> None:
    """Gives every free slot of the job its next trial, and ends the job when nothing is left to run.

    The caller saves the job.

    Raises:
      SearchSpaceError: if the search space cannot be loaded any more.
    """
    while job.wants_trial:
        # By its place in the search, not by its number: stage 2 changes no proposal.
        proposal = proposals.take(job, job.counts.created + 1)
        begin_trial(
            tx,
            job,
            job.request_trial(proposal.choices, proposal.nas_params_str, proposal.proposed_after, now),
        )
    while job.wants_train_trial:
        source = next_to_train(tx, job)
        if source is None:
            job.end_rounds()
        else:
            begin_trial(tx, job, job.request_train_trial(source, now))
    job.finish(now)


def begin_trial(tx: Transaction, job: Job, trial: Trial) -> None:
    """Stores a new trial and queues its training."""
    tx.add_trial(trial)
    tx.record(TrialChanged(job.id, trial.number, trial.state))
    queue_task(tx, Task(job.id, trial.number, TaskKind.TRAIN, job.spec.train_of(trial.stage).pool))


def queue_task(tx: Transaction, task: Task) -> None:
    """Stores a new task and says that it waits for a worker."""
    tx.add_task(task)
    tx.record(TaskReady(task.job_id, task.trial_number, task.kind, task.device_type))


def settle_if_complete(tx: Transaction, job: Job, trial: Trial, proposals: Proposals, now: float) -> None:
    """Saves a trial with news from a worker; once both halves are in, it gets its reward and settles."""
    if not trial.trained or (job.spec.measure is not None and not trial.measured):
        tx.save_trial(trial)
        tx.record(TrialChanged(job.id, trial.number, trial.state))
        return
    order = job.next_order(trial)
    try:
        worth = reward.compute(job.spec.reward, trial.metrics)
        if not math.isfinite(worth):
            raise reward.RewardError(f"found {worth}; expected a finite number")
    except reward.RewardError as error:
        trial.fail("INTERNAL", f"no reward: {error}", order, now)
    except Exception as error:
        # The function is the user's to edit: it may raise anything, overflow to begin with.
        trial.fail("INTERNAL", f"no reward: {type(error).__name__}: {error}", order, now)
    else:
        trial.succeed(worth, order, now)
    close_trial(tx, job, trial, proposals, now)


def close_trial(tx: Transaction, job: Job, trial: Trial, proposals: Proposals, now: float) -> None:
    """Stores a trial that has just ended, with all that follows from it for its tasks and its job."""
    for task in tx.open_tasks(job.id, trial.number) if trial.state is not TrialState.SUCCEEDED else ():
        task.request_stop()
        tx.save_task(task)
    before = job.state
    job.settle(trial, now)
    tx.save_trial(trial)
    tx.record(TrialChanged(job.id, trial.number, trial.state))
    if job.state is JobState.FAILED and before is JobState.RUNNING:
        stop_open_trials(tx, job, now)
    try:
        fill_slots(tx, job, proposals, now)
    except SearchSpaceError as error:
        # The module that holds a user's own space was there when the job began, and is gone.
        job.fail(f"spec.search_space: {error}", now)
        stop_open_trials(tx, job, now)
    tx.save_job(job)
    if job.state is not before:
        tx.record(JobChanged(job.id, job.state))
    if job.has_ended:
        proposals.forget(job.id)


def fail_job(tx: Transaction, job: Job, trial: Trial, message: str, proposals: Proposals, now: float) -> None:
    """Ends a job of which `trial`, which has just failed, has shown that no trial can succeed."""
    if job.state is JobState.RUNNING:
        job.fail(message, now)
        stop_open_trials(tx, job, now, but=trial)
        tx.record(JobChanged(job.id, job.state))
    close_trial(tx, job, trial, proposals, now)


def stop_open_trials(tx: Transaction, job: Job, now: float, but: Trial | None = None) -> None:
    """Asks the open trials to stop; those no worker holds end at once. The caller saves the job."""
    for trial in tx.open_trials(job.id):
        if trial.state is TrialState.STOPPING or (but is not None and trial.number == but.number):
            continue
        trial.stop()
        held = False
        for task in tx.open_tasks(job.id, trial.number):
            task.request_stop()
            tx.save_task(task)
            held = held or task.state is TaskState.LEASED
        if not held:
            trial.cancel(now)
            job.settle(trial, now)
        tx.save_trial(trial)
        tx.record(TrialChanged(job.id, trial.number, trial.state))


def cancel_if_idle(tx: Transaction, job: Job, trial: Trial, proposals: Proposals, now: float) -> None:
    """Ends a stopping trial once no worker holds a task of it."""
    if trial.state is TrialState.STOPPING and not tx.open_tasks(job.id, trial.number):
        trial.cancel(now)
        close_trial(tx, job, trial, proposals, now)
