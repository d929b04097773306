"""What workers do: claim a task, keep it, report, and settle it."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from nas_orchestrator.domain.events import TaskReady, TrialChanged
from nas_orchestrator.domain.names import parse_trial_name
from nas_orchestrator.domain.task import Task, TaskKind, TaskState
from nas_orchestrator.domain.trial import Trial, TrialState
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases.store import ClaimedTask, Transaction
from nas_orchestrator.usecases.trials import (
    cancel_if_idle,
    close_trial,
    fail_job,
    queue_task,
    settle_if_complete,
)
from nas_shared.errors import InvalidArgument

TaskKey = tuple[int, int, TaskKind]


def claim_task(
    tx: Transaction,
    proposals: Proposals,
    *,
    worker: str,
    claim_id: str,
    kind: TaskKind,
    device_type: str,
    key: TaskKey | None,
    token: str,
    expiry: float,
    now: float,
) -> ClaimedTask | None:
    """Leases the oldest queued task that suits the worker, or the one named by `key`.

    A worker does one task at a time: a task it still holds was claimed by an answer it never got, and
    is handed over again if the request is the same, or it was left behind when the worker died, and
    goes back to the queue.
    """
    held = tx.task_leased_by(worker)
    if held is not None:
        if claim_id and held.claim_id == claim_id:
            return _claimed(tx, held, tx.trial(held.job_id, held.trial_number))
        lose_lease(tx, proposals, held, f"worker {worker} died or left it", now)
    task = tx.find_task(*key) if key is not None else tx.next_queued_task(kind, device_type)
    if task is None or task.state is not TaskState.QUEUED:
        return None
    if (task.kind, task.device_type) != (kind, device_type):
        raise InvalidArgument(
            f"{task.name} is a {task.kind} task for device {task.device_type!r}; the worker offers {kind} "
            f"on {device_type!r}"
        )
    task.lease(worker, token, claim_id, expiry)
    tx.save_task(task)
    trial = tx.trial(task.job_id, task.trial_number)
    started = trial.start(now)
    if kind is TaskKind.TRAIN:
        trial.train_attempts = task.attempt
    if started or kind is TaskKind.TRAIN:
        tx.save_trial(trial)
    if started:
        tx.record(TrialChanged(trial.job_id, trial.number, trial.state))
    return _claimed(tx, task, trial)


def _claimed(tx: Transaction, task: Task, trial: Trial) -> ClaimedTask:
    source = tx.find_trial(*parse_trial_name(trial.source_trial)) if trial.source_trial else None
    return ClaimedTask(task, trial, tx.job(task.job_id), source.trial_dir if source is not None else "")


def renew_lease(tx: Transaction, key: TaskKey, token: str, expiry: float) -> Task:
    """Extends a lease; `Task.stop_requested` tells the worker to let go."""
    task = tx.task(*key)
    task.renew(token, expiry)
    tx.save_task(task)
    return task


def report_measurement(
    tx: Transaction, key: TaskKey, token: str, step: int, metrics: Mapping[str, float], saved_model_dir: str
) -> bool:
    """Stores progress; the first SavedModel of a trial gives birth to its MEASURE task.

    Returns:
      Whether the worker is to let go.
    Raises:
      InvalidArgument: if the SavedModel lies outside the attempt's directory.
    """
    task = tx.task(*key)
    task.check_holder(token)
    trial = tx.trial(task.job_id, task.trial_number)
    if not trial.is_open or task.stop_requested:
        return True
    if metrics:
        trial.latest_step, trial.latest_metrics = step, dict(metrics)
        tx.save_trial(trial)
        tx.record(TrialChanged(trial.job_id, trial.number, trial.state))
    if saved_model_dir and task.kind is TaskKind.TRAIN:
        job = tx.job(task.job_id)
        # A user's own trainer knows no attempts: its model lies where AIP_MODEL_DIR says.
        has_program = job.spec.train_of(trial.stage).program is not None
        home = f"{trial.trial_dir}/model" if has_program else trial.attempt_dir(task.attempt)
        path = PurePosixPath(saved_model_dir)
        if not path.is_relative_to(home) or ".." in path.parts:
            raise InvalidArgument(
                f"saved_model_dir: found {saved_model_dir}; expected a directory below {home}"
            )
        measure = job.spec.measure
        if measure is not None and tx.find_task(task.job_id, task.trial_number, TaskKind.MEASURE) is None:
            born = Task(task.job_id, task.trial_number, TaskKind.MEASURE, measure.device_type)
            born.saved_model_dir = saved_model_dir
            queue_task(tx, born)
    return False


def complete_task(
    tx: Transaction, proposals: Proposals, key: TaskKey, token: str, metrics: Mapping[str, float], now: float
) -> Trial:
    """Takes a worker's result; the last one of a trial settles it.

    Raises:
      InvalidArgument: if a training lacks the metric of the reward, or the SavedModel of a job that
        measures was never reported. Nothing is stored; the worker may fail the task instead.
    """
    task = tx.task(*key)
    trial = tx.trial(task.job_id, task.trial_number)
    if not task.complete(token):
        return trial
    job = tx.job(task.job_id)
    if task.kind is TaskKind.TRAIN:
        metric = job.spec.reward.metric
        if metric not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise InvalidArgument(
                f"measurement.metrics: found {known}; expected {metric!r}, the job's reward metric"
            )
        if job.spec.measure is not None and tx.find_task(*key[:2], TaskKind.MEASURE) is None:
            raise InvalidArgument(f"{task.name}: completed, but no SavedModel was reported to be measured")
    tx.save_task(task)
    if trial.state is TrialState.STOPPING:
        cancel_if_idle(tx, job, trial, proposals, now)
    elif trial.is_open:
        if task.kind is TaskKind.TRAIN:
            trial.add_training(metrics, task.attempt)
        else:
            trial.add_measurement(metrics)
        settle_if_complete(tx, job, trial, proposals, now)
    return trial


def fail_task(
    tx: Transaction,
    proposals: Proposals,
    key: TaskKey,
    token: str,
    *,
    reason: str,
    message: str,
    retryable: bool,
    infeasible: bool,
    now: float,
) -> Trial:
    """Takes a worker's failure: queue the task again, end the trial, or end the whole job."""
    task = tx.task(*key)
    trial = tx.trial(task.job_id, task.trial_number)
    if task.was_let_go_by(token):
        return trial
    task.check_holder(token)
    if retryable and trial.is_open and trial.state is not TrialState.STOPPING and task.requeue(lost=True):
        tx.save_task(task)
        tx.record(TaskReady(task.job_id, task.trial_number, task.kind, task.device_type))
        return trial
    if task.state is TaskState.LEASED:
        task.fail(token)
    tx.save_task(task)
    job = tx.job(task.job_id)
    if trial.state is TrialState.STOPPING:
        cancel_if_idle(tx, job, trial, proposals, now)
    elif trial.is_open:
        order = job.next_order(trial)
        if infeasible:
            trial.reject(reason, message, order, now)
            close_trial(tx, job, trial, proposals, now)
        else:
            trial.fail(reason, message, order, now)
            if reason == "INVALID_JOB":
                fail_job(tx, job, trial, message, proposals, now)
            else:
                close_trial(tx, job, trial, proposals, now)
    return trial


def release_task(tx: Transaction, proposals: Proposals, key: TaskKey, token: str, now: float) -> None:
    """Gives a task back in good order: the next worker goes on, or a stopping trial ends."""
    task = tx.task(*key)
    if task.was_let_go_by(token):
        return
    task.check_holder(token)
    let_go(tx, proposals, task, "", now, lost=False)


def lose_lease(tx: Transaction, proposals: Proposals, task: Task, why: str, now: float) -> None:
    """Takes a task from a worker that was lost."""
    let_go(tx, proposals, task, why, now, lost=True)


def expire_leases(tx: Transaction, proposals: Proposals, now: float) -> int:
    """Takes back every task whose lease ran out, also those never renewed; returns how many."""
    expired = tx.tasks_with_expired_lease(now)
    for found in expired:
        # The loss of one may have ended the job of the next.
        task = tx.task(found.job_id, found.trial_number, found.kind)
        if task.state is TaskState.LEASED:
            lose_lease(
                tx, proposals, task, f"worker {task.lease_worker} did not renew its lease in time", now
            )
    return len(expired)


def let_go(tx: Transaction, proposals: Proposals, task: Task, why: str, now: float, *, lost: bool) -> None:
    """Ends a lease: the task waits for another worker, or ends with a trial that nobody needs."""
    trial = tx.trial(task.job_id, task.trial_number)
    job = tx.job(task.job_id)
    if not trial.is_open or trial.state is TrialState.STOPPING:
        task.cancel()
        tx.save_task(task)
        cancel_if_idle(tx, job, trial, proposals, now)
    elif task.requeue(lost=lost, taken=lost):
        tx.save_task(task)
        tx.record(TaskReady(task.job_id, task.trial_number, task.kind, task.device_type))
    else:
        tx.save_task(task)
        message = f"{task.name} was lost {task.losses} times; the last time {why}"
        trial.fail("LEASE_EXPIRED", message, job.next_order(trial), now)
        close_trial(tx, job, trial, proposals, now)
