"""What people ask for: start a search, end it, run it on."""

import re
from collections.abc import Callable

from nas_orchestrator.domain.events import JobChanged
from nas_orchestrator.domain.job import Job, JobSpec, Limits, output_dir_for
from nas_orchestrator.search.algorithm import validate_algorithm
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases.store import Transaction
from nas_orchestrator.usecases.trials import fill_slots, stop_open_trials
from nas_shared import search_spaces
from nas_shared.errors import FailedPrecondition, InvalidArgument
from nas_shared.reward import RewardSpecError

_DISPLAY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_PATH, _MAX_DEVICE_TYPE = 1024, 64
# Jobs that may have been created within the same second.
_NEWEST = 100


def create_job(
    tx: Transaction,
    proposals: Proposals,
    *,
    display_name: str,
    spec: JobSpec,
    request_id: str,
    new_id: Callable[[], int],
    now: float,
) -> Job:
    """Starts a search and requests its first trials; a repeated request returns the job there is.

    Raises:
      InvalidArgument: names the field that is wrong, or the request id that made another job.
    """
    if request_id and (existing := tx.job_of_request(request_id)) is not None:
        if (existing.display_name, existing.spec.search_space) != (display_name, spec.search_space):
            raise InvalidArgument(
                f"request_id: {request_id!r} has made {existing.name} ({existing.display_name!r}); "
                f"expected a new id for {display_name!r}"
            )
        return existing
    validate_job(display_name, spec)
    job = Job(new_id(), display_name, spec, now, _free_output_dir(tx, display_name, spec, now))
    tx.add_job(job, request_id)
    tx.record(JobChanged(job.id, job.state))
    fill_slots(tx, job, proposals, now)
    tx.save_job(job)
    return job


def _free_output_dir(tx: Transaction, display_name: str, spec: JobSpec, now: float) -> str:
    """The job's directory; of jobs of one name and second, the later ones take the seconds that follow."""
    taken = {job.output_dir for job in tx.list_jobs(0, _NEWEST)}
    while (output_dir := output_dir_for(spec.root_output_dir, display_name, now)) in taken and output_dir:
        now += 1
    return output_dir


def validate_job(display_name: str, spec: JobSpec) -> None:
    """Raises InvalidArgument, naming the field, what was found and what was expected."""
    if not _DISPLAY_NAME.fullmatch(display_name) or display_name.strip(".") == "":
        raise InvalidArgument(
            f"search_job.display_name: found {display_name!r}; expected 1-128 of A-Z a-z 0-9 _ . -"
        )
    spec.limits.validate()
    _validate_root(spec.root_output_dir)
    validate_algorithm(spec.algorithm)
    try:
        search_spaces.load(spec.search_space)
    except search_spaces.SearchSpaceError as error:
        raise InvalidArgument(f"spec.search_space: {error}") from error
    try:
        spec.reward.validate()
    except RewardSpecError as error:
        raise InvalidArgument(f"spec.{error}") from error
    if spec.reward.needs_measurement and spec.measure is None:
        raise InvalidArgument(
            "spec.measure: found none; expected one, since the reward has a latency or memory target"
        )
    if spec.measure is not None and not spec.measure.device_type:
        raise InvalidArgument("spec.measure.device_type: found nothing; expected a device type, e.g. CPU")
    for field, device_type in (
        ("measure.device_type", spec.measure.device_type if spec.measure is not None else ""),
        ("train.accelerator_type", spec.train.accelerator_type),
    ):
        if len(device_type) > _MAX_DEVICE_TYPE:
            raise InvalidArgument(
                f"spec.{field}: found {len(device_type)} characters; expected at most {_MAX_DEVICE_TYPE}"
            )
    if spec.measure is not None and not spec.root_output_dir:
        raise InvalidArgument(
            "spec.root_output_dir: found nothing; expected a directory for the SavedModels to measure"
        )
    if spec.train.accelerator_count < 0 or (spec.train.accelerator_type == "") != (
        spec.train.accelerator_count == 0
    ):
        raise InvalidArgument(
            f"spec.train: found accelerator_type {spec.train.accelerator_type!r} with accelerator_count "
            f"{spec.train.accelerator_count}; expected both, or '' with 0"
        )


def _validate_root(root_output_dir: str) -> None:
    if "\0" in root_output_dir or len(root_output_dir) > _MAX_PATH:
        raise InvalidArgument(
            f"root_output_dir: found {root_output_dir[:80]!r} of {len(root_output_dir)} characters; "
            f"expected a path of at most {_MAX_PATH}, without NUL"
        )


def cancel_job(tx: Transaction, proposals: Proposals, job_id: int, now: float) -> Job:
    """Stops proposing and asks the open trials to stop; a job that has ended stays as it is."""
    job = tx.job(job_id)
    if not job.cancel(now):
        return job
    stop_open_trials(tx, job, now)
    tx.save_job(job)
    tx.record(JobChanged(job.id, job.state))
    if job.has_ended:
        proposals.forget(job.id)
    return job


def resume_job(
    tx: Transaction,
    proposals: Proposals,
    job_id: int,
    limits: Limits | None,
    root_output_dir: str,
    now: float,
) -> Job:
    """Runs an ended job on, with its history; see `Job.resume`.

    Raises:
      InvalidArgument: also when the search space cannot be loaded any more.
    """
    _validate_root(root_output_dir)
    job = tx.job(job_id)
    if not job.resume(limits, root_output_dir, now):
        return job
    tx.record(JobChanged(job.id, job.state))
    try:
        fill_slots(tx, job, proposals, now)
    except search_spaces.SearchSpaceError as error:
        raise InvalidArgument(f"spec.search_space: {error}") from error
    tx.save_job(job)
    return job


def delete_job(tx: Transaction, job_id: int) -> None:
    """Deletes a job that has ended, with its trials and tasks. Files stay.

    Raises:
      FailedPrecondition: while it is running.
    """
    job = tx.job(job_id)
    if not job.has_ended:
        raise FailedPrecondition(f"{job.name} is {job.state}; only jobs that have ended can be deleted")
    tx.delete_job(job)
