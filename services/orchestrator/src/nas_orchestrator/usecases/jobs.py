"""What people ask for: start a search, end it, run it on."""

import re
from collections.abc import Callable

from nas_orchestrator.domain.events import JobChanged
from nas_orchestrator.domain.job import (
    MAX_OPEN_TRIALS,
    Job,
    JobSpec,
    Limits,
    TrainSpec,
    TrainStage,
    output_dir_for,
)
from nas_orchestrator.domain.names import parse_trial_name
from nas_orchestrator.domain.trial import Stage, TrialState
from nas_orchestrator.search.algorithm import validate_algorithm
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases.store import Transaction
from nas_orchestrator.usecases.trials import fill_slots, stop_open_trials
from nas_shared import search_spaces
from nas_shared.errors import FailedPrecondition, InvalidArgument
from nas_shared.reward import RewardSpecError

_DISPLAY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_PATH, _MAX_DEVICE_TYPE = 1024, 64
# A TRAIN task carries `program:` before it.
_MAX_ACCELERATOR_TYPE = _MAX_DEVICE_TYPE - len("program:")
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
    _check_chosen(tx, spec)
    job = Job(new_id(), display_name, spec, now, _free_output_dir(tx, display_name, spec, now))
    if not spec.searches:
        job.start_chosen()
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
    if spec.searches:
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
    if spec.measure is not None and len(spec.measure.device_type) > _MAX_DEVICE_TYPE:
        raise InvalidArgument(
            f"spec.measure.device_type: found {len(spec.measure.device_type)} characters; "
            f"expected at most {_MAX_DEVICE_TYPE}"
        )
    if spec.measure is not None and not spec.root_output_dir:
        raise InvalidArgument(
            "spec.root_output_dir: found nothing; expected a directory for the SavedModels to measure"
        )
    _validate_train("train", spec.train, spec.root_output_dir)
    if spec.train_stage is not None:
        _validate_train_stage(spec.train_stage, spec.root_output_dir)


def _validate_train_stage(stage: TrainStage, root_output_dir: str) -> None:
    _validate_train("train_stage.train", stage.train, root_output_dir)
    if stage.frequency < 1:
        raise InvalidArgument(f"spec.train_stage.frequency: found {stage.frequency}; expected 1 or more")
    if not 1 <= stage.max_parallel <= MAX_OPEN_TRIALS:
        raise InvalidArgument(
            f"spec.train_stage.max_parallel_trial_count: found {stage.max_parallel}; "
            f"expected 1 to {MAX_OPEN_TRIALS}"
        )


def _validate_train(field: str, train: TrainSpec, root_output_dir: str) -> None:
    if train.accelerator_count < 0 or (train.accelerator_type == "") != (train.accelerator_count == 0):
        raise InvalidArgument(
            f"spec.{field}: found accelerator_type {train.accelerator_type!r} with accelerator_count "
            f"{train.accelerator_count}; expected both, or '' with 0"
        )
    if len(train.accelerator_type) > _MAX_ACCELERATOR_TYPE:
        raise InvalidArgument(
            f"spec.{field}.accelerator_type: found {len(train.accelerator_type)} characters; "
            f"expected at most {_MAX_ACCELERATOR_TYPE}"
        )
    program = train.program
    if program is None:
        return
    if not program.image and not any(program.command):
        raise InvalidArgument(
            f"spec.{field}.program: found neither image nor command; expected at least one of them"
        )
    if program.timeout_seconds < 0:
        raise InvalidArgument(
            f"spec.{field}.program.timeout: found {program.timeout_seconds} s; expected 0 or more"
        )
    if not root_output_dir:
        raise InvalidArgument(
            "spec.root_output_dir: found nothing; expected a directory for the files of your program"
        )


def _check_chosen(tx: Transaction, spec: JobSpec) -> None:
    """Raises InvalidArgument, naming it, if a trial that was chosen for stage 2 is none to train."""
    if spec.train_stage is None:
        return
    field = "spec.train_stage.trials"
    chosen = spec.train_stage.trials
    for name in chosen:
        try:
            job_id, number = parse_trial_name(name)
        except InvalidArgument as error:
            raise InvalidArgument(f"{field}: {error}") from error
        trial = tx.find_trial(job_id, number)
        if trial is None:
            raise InvalidArgument(f"{field}: {name} does not exist")
        if trial.stage is not Stage.SEARCH or trial.state is not TrialState.SUCCEEDED:
            raise InvalidArgument(
                f"{field}: {name} is {trial.state}, stage {trial.stage}; "
                "expected SUCCEEDED trials of stage SEARCH"
            )
        found = tx.job(job_id).spec.search_space
        if found != spec.search_space:
            raise InvalidArgument(
                f"{field}: {name} is of search space {found!r}; expected {spec.search_space!r}, the job's"
            )
    if len(set(chosen)) != len(chosen):
        twice = next(name for name in chosen if chosen.count(name) > 1)
        raise InvalidArgument(f"{field}: found {twice} twice; expected every trial once")


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
