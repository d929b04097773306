"""`search` and `search_resume`: start or continue a job, show it until it ends, and what came of it."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
from nas.v1 import resources_pb2
from rich.console import Console

from nas_client import registry, results, session, spec
from nas_client.client import ServiceError, job_id
from nas_client.display import Display, make_console
from nas_client.embedded import Workers, workers_for
from nas_client.embedded.stack import describe
from nas_client.flags import Values
from nas_client.interrupts import Interrupts
from nas_client.program import next_command
from nas_client.progress import Progress
from nas_client.session import Session
from nas_client.watcher import Watcher
from nas_shared.cli import EXIT_FAILURE, EXIT_OK, CommandError, UsageError

_Job = resources_pb2.SearchJob

_REFRESH_SECONDS = 0.25
# A trainer stops within a step, but a step that also traces or exports takes longer.
_CANCEL_SECONDS = 60.0
_BEST_SHOWN = 10
_FLAG_OF_FIELD = {
    "limits.max_trial_count": "--max_nas_trial",
    "limits.max_parallel_trial_count": "--max_parallel_nas_trial",
    "limits.max_failed_trial_count": "--max_failed_nas_trial",
    "spec.search_space": "--prebuilt_search_space",
}


def search(values: Values) -> int:
    """Runs the command `search`; returns the exit code.

    Raises:
      UsageError, CommandError: nothing was started, or what was started has been stopped.
    """
    wanted = spec.search_job(values)
    workers = None
    if not values["endpoint"]:
        spec.check_data_paths(wanted.spec.train.flags)
        workers = workers_for(wanted.spec, values["num_train_workers"])
    console = make_console()
    with _session(values, console, Path(wanted.spec.root_output_dir)) as opened:
        if values["resume"]:
            job = _last_job(opened, wanted)
            known = list(opened.client.trials(job.name))
            job = _resume(opened, console, job, wanted.spec.limits, "")
        else:
            known = []
            job = _create(opened, wanted)
        return _run(opened, console, values, job, known, workers)


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
    with _session(values, console, home) as opened:
        job = opened.client.get(number)
        known = list(opened.client.trials(job.name))
        workers = None
        job.spec.limits.CopyFrom(spec.limits(values, job.spec.limits))
        if not values["endpoint"]:
            workers = workers_for(job.spec, values["num_train_workers"])
        job = _resume(opened, console, job, job.spec.limits, new_root)
        return _run(opened, console, values, job, known, workers)


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


def _session(values: Values, console: Console, root: Path) -> AbstractContextManager[Session]:
    if values["endpoint"]:
        return session.remote(values)
    if console.is_terminal:
        console.print(f"starting the search's own stack in {root} …", style="dim", soft_wrap=True)
    return session.embedded(root, lease_seconds=values["lease_seconds"], debug=values["debug"])


def _create(opened: Session, wanted: resources_pb2.SearchJob) -> resources_pb2.SearchJob:
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
        deadline = time.monotonic() + _CANCEL_SECONDS
        while job.state == _Job.CANCELLING and time.monotonic() < deadline:
            time.sleep(_REFRESH_SECONDS)
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


def _run(
    opened: Session,
    console: Console,
    values: Values,
    job: resources_pb2.SearchJob,
    known: Iterable[resources_pb2.Trial],
    workers: Workers | None,
) -> int:
    """Starts `workers` of its own for the running job, shows it until it ends, then what came of it."""
    _announce(console, opened, job, resumed=bool(known))
    with Interrupts() as interrupts:
        if opened.stack is not None and opened.root is not None and workers is not None:
            registry.remember(job_id(job), opened.root)
            _cancel_others(opened, console, job)
            opened.stack.start_workers(workers)
        try:
            job = _follow(opened, console, Progress(job, known), interrupts)
        except (KeyboardInterrupt, CommandError):
            # The job is still open: it goes on where it was once somebody resumes it.
            console.print(_hints(values, job), style="dim", soft_wrap=True, markup=False)
            raise
    _report(opened, console, values, job)
    if interrupts.exit_code is not None and job.state != _Job.SUCCEEDED:
        return interrupts.exit_code
    if job.state == _Job.FAILED:
        logs = f" (logs: {opened.root / 'logs'})" if opened.root else ""
        raise CommandError(f"{job.name} failed: {job.error_message}{logs}")
    return EXIT_OK if job.state == _Job.SUCCEEDED else EXIT_FAILURE


def _follow(
    opened: Session, console: Console, progress: Progress, interrupts: Interrupts
) -> resources_pb2.SearchJob:
    """Returns the job once it has ended, or when it takes too long to cancel."""
    job = progress.job.name
    cancel_deadline: float | None = None
    with (
        Watcher(opened.client, job) as watcher,
        Display(console, progress) as display,
    ):
        while not watcher.ended:
            for update in watcher.updates(_REFRESH_SECONDS):
                for trial in progress.update(update.job, update.trials):
                    display.settled(trial)
            display.refresh()
            if opened.stack is not None:
                for news in opened.stack.take_news():
                    display.say(f"{news}; starting it again", "yellow")
                if opened.stack.gave_up is not None:
                    raise CommandError(describe(opened.stack.gave_up))
            if interrupts.exit_code is not None and cancel_deadline is None:
                display.note(f"cancelling {job}: its trials are asked to stop; another Ctrl-C stops at once")
                opened.client.cancel(job)
                cancel_deadline = time.monotonic() + _CANCEL_SECONDS
            if cancel_deadline is not None and time.monotonic() > cancel_deadline:
                display.note(f"{job} is not cancelled after {_CANCEL_SECONDS:.0f} s; leaving it")
                break
    return progress.job


def _cancel_others(opened: Session, console: Console, job: resources_pb2.SearchJob) -> None:
    """Searches a killed command left running would share the workers with this one."""
    for other in opened.client.jobs():
        if other.state == _Job.RUNNING and other.name != job.name:
            opened.client.cancel(other.name)
            resume = next_command(f"search_resume --previous_nas_job_id={job_id(other)}")
            console.print(
                f"{other.name} ({other.display_name}) had been left running and is cancelled; "
                f"go on with it later: {resume}",
                style="yellow",
                soft_wrap=True,
            )


def _announce(console: Console, opened: Session, job: resources_pb2.SearchJob, *, resumed: bool) -> None:
    limits, algorithm = job.spec.limits, job.spec.algorithm
    kind = resources_pb2.Algorithm.Kind.Name(algorithm.kind)
    happened = "goes on" if resumed else "started"
    console.print(
        f"[bold]{job.name}[/] ({job.display_name}) {happened}: {job.spec.search_space}, {kind}, "
        f"seed {algorithm.seed}, {limits.max_trial_count} trials, "
        f"{limits.max_parallel_trial_count} at once",
        soft_wrap=True,
    )
    if job.output_dir:
        console.print(f"files   {job.output_dir}", style="dim", soft_wrap=True)
    if opened.stack is not None and opened.root is not None:
        console.print(f"logs    {opened.root / 'logs'}", style="dim", soft_wrap=True)
        console.print(f"server  {opened.stack.endpoint}", style="dim", soft_wrap=True)


def _report(opened: Session, console: Console, values: Values, job: resources_pb2.SearchJob) -> None:
    trials = list(opened.client.trials(job.name, best_first=True))
    best = [trial for trial in trials if trial.state == resources_pb2.Trial.SUCCEEDED][:_BEST_SHOWN]
    console.print()
    if best:
        results.print_trials(console, job, best, title=f"Best trials of {job.display_name} ({job.name})")
    state = _Job.State.Name(job.state)
    counts = job.trial_counts
    style = {_Job.SUCCEEDED: "bold green", _Job.FAILED: "bold red"}.get(job.state, "bold yellow")
    console.print(
        f"{job.name} {state}: {counts.succeeded} succeeded, {counts.infeasible} infeasible, "
        f"{counts.failed} failed, {counts.cancelled} cancelled",
        style=style,
        soft_wrap=True,
    )
    for path in results.write_files(job, trials):
        console.print(f"wrote   {path}", soft_wrap=True)
    console.print(_hints(values, job), style="dim", soft_wrap=True, markup=False)


def _hints(values: Values, job: resources_pb2.SearchJob) -> str:
    """The next commands to type."""
    endpoint = f" --endpoint={values['endpoint']}" if values["endpoint"] else ""
    token = f" --token_file={values['token_file']}" if values["token_file"] else ""
    number, limit = job_id(job), job.spec.limits.max_trial_count
    lines = [next_command(f"list_trials --job_id={number}{endpoint}{token}")]
    failed = job.trial_counts.failed
    if job.state == _Job.SUCCEEDED:
        more = f" --max_nas_trial={2 * limit}"
    elif job.state == _Job.FAILED:
        more = f" --max_failed_nas_trial={2 * failed}"
    else:
        more = ""
    # A job that failed without its trials failing is wrong itself: running it on would change nothing.
    if job.state != _Job.FAILED or failed >= job.spec.limits.max_failed_trial_count:
        lines.append(next_command(f"search_resume --previous_nas_job_id={number}{more}{endpoint}{token}"))
    return "\n".join(f"{'next' if line is lines[0] else '':8}{line}" for line in lines)
