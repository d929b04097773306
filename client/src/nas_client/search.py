"""`search` and `search_resume`: start or continue a job."""

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import grpc
from nas.v1 import resources_pb2
from rich.console import Console

from nas_client import registry, session, spec, stage2
from nas_client.client import ServiceError
from nas_client.display import make_console
from nas_client.embedded import workers_for
from nas_client.flags import Values
from nas_client.running import CANCEL_SECONDS, REFRESH_SECONDS, run_job
from nas_client.session import Session
from nas_shared.cli import CommandError, UsageError

_Job = resources_pb2.SearchJob

_FLAG_OF_FIELD = {
    "limits.max_trial_count": "--max_nas_trial",
    "limits.max_parallel_trial_count": "--max_parallel_nas_trial",
    "limits.max_failed_trial_count": "--max_failed_nas_trial",
    "spec.search_space": "--prebuilt_search_space",
    "spec.train_stage.trials": "--train_nas_trial_numbers",
}


def search(values: Values) -> int:
    """Runs the command `search`; returns the exit code.

    Raises:
      UsageError, CommandError: nothing was started, or what was started has been stopped.
    """
    wanted = spec.search_job(values, stage2.of_search(values))
    workers = None
    if not values["endpoint"]:
        spec.check_data_paths(wanted.spec.train.flags)
        spec.check_data_paths(wanted.spec.train_stage.train.flags, "train_docker_flags")
        workers = workers_for(wanted.spec, values["num_train_workers"])
        if values["num_cloud_latency_workers"] == 0:
            workers = replace(workers, measure_device_type="")
    console = make_console()
    with open_session(values, console, Path(wanted.spec.root_output_dir)) as opened:
        if values["resume"]:
            job = _last_job(opened, wanted)
            known = list(opened.client.trials(job.name))
            job = _resume(opened, console, job, wanted.spec.limits, "")
        else:
            known = []
            job = create(opened, wanted)
        return run_job(opened, console, values, job, known, workers)


def search_resume(values: Values) -> int:
    """Runs the command `search_resume`; returns the exit code.

    Raises:
      UsageError, CommandError: as `search`.
    """
    number = check_job_id("previous_nas_job_id", values["previous_nas_job_id"])
    new_root = values["root_output_dir"]
    new_root = spec.local_directory("root_output_dir", new_root) if new_root else ""
    home = Path()
    if not values["endpoint"]:
        # A root that is not the search's own may hold other searches: what is remembered comes first.
        home = registry.find(number) or find_home(number, new_root)
        new_root = "" if Path(new_root or home) == home else new_root
    console = make_console()
    with open_session(values, console, home) as opened:
        job = opened.client.get(number)
        known = list(opened.client.trials(job.name))
        workers = None
        job.spec.limits.CopyFrom(spec.limits(values, job.spec.limits))
        if not values["endpoint"]:
            workers = workers_for(job.spec, values["num_train_workers"])
        job = _resume(opened, console, job, job.spec.limits, new_root)
        return run_job(opened, console, values, job, known, workers)


def check_job_id(flag: str, text: str) -> str:
    """The numeric id in `7` or `searchJobs/7`.

    Raises:
      UsageError: if it is missing or not numeric.
    """
    number = text.removeprefix("searchJobs/")
    if not number.isdigit():
        raise UsageError(f"--{flag}: found {text!r}, expected the numeric id of a search")
    return number


def find_home(number: str, root: str) -> Path:
    """Directory whose database holds embedded search `number`: `root` if it has one, or the remembered one.

    Raises:
      CommandError: if neither knows it.
    """
    if root and Path(root, "nas.db").exists():
        return Path(root)
    remembered = registry.find(number)
    if remembered is not None:
        return remembered
    where = f"{root} holds no searches" if root else f"{registry.path()} does not know it"
    raise CommandError(
        f"searchJobs/{number}: found no such search ({where}); expected its --root_output_dir or --endpoint"
    )


def open_session(values: Values, console: Console, root: Path) -> AbstractContextManager[Session]:
    if values["endpoint"]:
        return session.remote(values)
    if console.is_terminal:
        console.print(f"starting the search's own stack in {root} …", style="dim", soft_wrap=True)
    return session.embedded(root, lease_seconds=values["lease_seconds"], debug=values["debug"])


def create(opened: Session, wanted: resources_pb2.SearchJob) -> resources_pb2.SearchJob:
    try:
        return opened.client.create(wanted)
    except ServiceError as error:
        raise _as_usage(error) from error


def _resume(
    opened: Session,
    console: Console,
    job: resources_pb2.SearchJob,
    limits: resources_pb2.Limits,
    new_root: str,
) -> resources_pb2.SearchJob:
    if job.state == _Job.CANCELLING:
        console.print(f"{job.name} is still being cancelled; waiting for its open trials", style="yellow")
        deadline = time.monotonic() + CANCEL_SECONDS
        while job.state == _Job.CANCELLING and time.monotonic() < deadline:
            time.sleep(REFRESH_SECONDS)
            job = opened.client.get(job.name)
    try:
        return opened.client.resume(job.name, limits=limits, root_output_dir=new_root)
    except ServiceError as error:
        raise _as_usage(error) from error


def _as_usage(error: ServiceError) -> Exception:
    """An argument the orchestrator calls invalid came from a flag, which is what the user knows it by."""
    if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
        return error
    message = str(error)
    for field, flag in _FLAG_OF_FIELD.items():
        if message.startswith(field):
            message = flag + message.removeprefix(field)
    return UsageError(message)


def _last_job(opened: Session, wanted: resources_pb2.SearchJob) -> resources_pb2.SearchJob:
    root = wanted.spec.root_output_dir
    for job in opened.client.jobs():
        if job.display_name == wanted.display_name and job.spec.root_output_dir == root:
            return job
    raise CommandError(
        f"--resume: found no search named {wanted.display_name} in {root}; "
        "leave --resume out to start one, or check --job_name and --root_output_dir"
    )
