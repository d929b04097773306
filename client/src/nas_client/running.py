"""A job that runs: its workers, what is shown until it ends, and what came of it."""

import time
from collections.abc import Iterable

from nas.v1 import resources_pb2
from rich.console import Console

from nas_client import registry, results
from nas_client.client import job_id
from nas_client.display import Display
from nas_client.embedded import Workers
from nas_client.embedded.stack import describe
from nas_client.flags import Values
from nas_client.interrupts import Interrupts
from nas_client.program import next_command
from nas_client.progress import Progress
from nas_client.session import Session
from nas_client.watcher import Watcher
from nas_shared.cli import EXIT_FAILURE, EXIT_OK, CommandError

_Job = resources_pb2.SearchJob

REFRESH_SECONDS = 0.25
# A trainer stops within a step, but a step that also traces or exports takes longer.
CANCEL_SECONDS = 60.0
_BEST_SHOWN = 10


def run_job(
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
            for update in watcher.updates(REFRESH_SECONDS):
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
                cancel_deadline = time.monotonic() + CANCEL_SECONDS
            if cancel_deadline is not None and time.monotonic() > cancel_deadline:
                display.note(f"{job} is not cancelled after {CANCEL_SECONDS:.0f} s; leaving it")
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
    happened = "goes on" if resumed else "started"
    console.print(
        f"[bold]{job.name}[/] ({job.display_name}) {happened}: {job.spec.search_space}, {_plan(job.spec)}",
        soft_wrap=True,
    )
    if job.output_dir:
        console.print(f"files   {job.output_dir}", style="dim", soft_wrap=True)
    if opened.stack is not None and opened.root is not None:
        console.print(f"logs    {opened.root / 'logs'}", style="dim", soft_wrap=True)
        console.print(f"server  {opened.stack.endpoint}", style="dim", soft_wrap=True)


def _plan(spec: resources_pb2.SearchJobSpec) -> str:
    """What the job will do, in a few words."""
    stage = spec.train_stage
    if stage.trials:
        numbers = ", ".join(name.rpartition("/")[2] for name in stage.trials)
        return f"full training of trials {numbers}, {stage.max_parallel_trial_count} at once"
    kind = resources_pb2.Algorithm.Kind.Name(spec.algorithm.kind)
    plan = (
        f"{kind}, seed {spec.algorithm.seed}, {spec.limits.max_trial_count} trials, "
        f"{spec.limits.max_parallel_trial_count} at once"
    )
    if spec.HasField("train_stage"):
        plan += (
            f"; stage 2 of the best {stage.max_parallel_trial_count} after every {stage.frequency} trials "
            "and at the end"
        )
    return plan


def _report(opened: Session, console: Console, values: Values, job: resources_pb2.SearchJob) -> None:
    trials = list(opened.client.trials(job.name, best_first=True))
    succeeded = [trial for trial in trials if trial.state == resources_pb2.Trial.SUCCEEDED]
    stages = (resources_pb2.Trial.SEARCH, resources_pb2.Trial.TRAIN)
    best = [trial for stage in stages for trial in results.by_stage(succeeded, stage)[:_BEST_SHOWN]]
    console.print()
    if best:
        results.print_stages(console, job, best, title=f"Best trials of {job.display_name} ({job.name})")
    state = _Job.State.Name(job.state)
    counts = job.train_trial_counts if job.spec.train_stage.trials else job.trial_counts
    style = {_Job.SUCCEEDED: "bold green", _Job.FAILED: "bold red"}.get(job.state, "bold yellow")
    console.print(
        f"{job.name} {state}: {counts.succeeded} succeeded, {counts.infeasible} infeasible, "
        f"{counts.failed} failed, {counts.cancelled} cancelled{_of_stage_2(job)}",
        style=style,
        soft_wrap=True,
    )
    for path in results.write_files(job, trials):
        console.print(f"wrote   {path}", soft_wrap=True)
    console.print(_hints(values, job), style="dim", soft_wrap=True, markup=False)


def _of_stage_2(job: resources_pb2.SearchJob) -> str:
    counts = job.train_trial_counts
    if job.spec.train_stage.trials or not counts.created:
        return ""
    return f"; stage 2: {counts.succeeded} succeeded, {counts.failed} failed, {counts.cancelled} cancelled"


def _hints(values: Values, job: resources_pb2.SearchJob) -> str:
    """The next commands to type."""
    endpoint = f" --endpoint={values['endpoint']}" if values["endpoint"] else ""
    token = f" --token_file={values['token_file']}" if values["token_file"] else ""
    number, limit = job_id(job), job.spec.limits.max_trial_count
    lines = [next_command(f"list_trials --job_id={number}{endpoint}{token}")]
    if job.spec.train_stage.trials and job.state == _Job.SUCCEEDED:
        return f"next    {lines[0]}"
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
