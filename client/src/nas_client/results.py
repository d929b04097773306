"""What is left of a search for people: the table of its best trials and the files beside its trials."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nas.v1 import resources_pb2
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_client import wording
from nas_client.client import trial_number
from nas_client.progress import to_datetime
from nas_shared.blobs import write_atomically
from nas_shared.cli import CommandError

CSV_NAME = "trials.csv"
CHART_NAME = "reward_over_trials.png"


def print_trials(
    console: Console, job: resources_pb2.SearchJob, trials: Sequence[resources_pb2.Trial], *, title: str
) -> None:
    """Prints a table of `trials`, which come best first."""
    metric = job.spec.reward.metric
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right", no_wrap=True)
    with_sources = any(trial.stage == resources_pb2.Trial.TRAIN for trial in trials)
    if with_sources:
        table.add_column("trains\ntrial", justify="right", no_wrap=True)
    with_states = any(trial.state != resources_pb2.Trial.SUCCEEDED for trial in trials)
    if with_states:
        table.add_column("state", no_wrap=True)
    table.add_column("reward", justify="right", style="bold", no_wrap=True)
    table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("latency\np50 ms", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("multiply-\nadds", justify="right", no_wrap=True)
    table.add_column("directory", overflow="fold")
    for trial in trials:
        best = trial.name == job.best_trial
        table.add_row(
            f"{'★ ' if best else ''}{trial_number(trial)}",
            *([trial.source_trial.rpartition("/")[2]] if with_sources else []),
            *([wording.state(trial)] if with_states else []),
            wording.decimal(wording.reward(trial)),
            wording.decimal(wording.metric(trial, metric)),
            wording.decimal(wording.metric(trial, wording.LATENCY), 2),
            wording.amount(wording.metric(trial, wording.PARAMETERS)),
            wording.amount(wording.metric(trial, wording.MULTIPLY_ADDS)),
            _relative(trial.trial_dir, job.output_dir),
            style="magenta" if best else "",
        )
    console.print(table)
    if job.output_dir:
        console.print(Text(f"directories are below {job.output_dir}", style="dim"), soft_wrap=True)


def by_stage(trials: Iterable[resources_pb2.Trial], stage: int) -> list[resources_pb2.Trial]:
    """Those of `trials` that are of `stage`, in their order."""
    is_train = stage == resources_pb2.Trial.TRAIN
    return [trial for trial in trials if (trial.stage == resources_pb2.Trial.TRAIN) == is_train]


def print_stages(
    console: Console, job: resources_pb2.SearchJob, trials: Sequence[resources_pb2.Trial], *, title: str
) -> None:
    """Prints the trials of the search under `title`, if there are some, and then those of stage 2."""
    searched, trained = (
        by_stage(trials, stage) for stage in (resources_pb2.Trial.SEARCH, resources_pb2.Trial.TRAIN)
    )
    if searched or not trained:
        print_trials(console, job, searched, title=title)
    if trained:
        print_trials(console, job, trained, title=f"Stage 2 of {job.display_name} ({job.name})")


def to_csv(trials: Iterable[resources_pb2.Trial]) -> str:
    """The trials by number, one line each; every metric any of them has is a column."""
    rows = [_row(trial) for trial in sorted(trials, key=trial_number)]
    metrics = sorted({name for row in rows for name in row["metrics"]})
    fixed = [name for name in _row(resources_pb2.Trial(name="/0")) if name != "metrics"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*fixed[:4], *metrics, *fixed[4:]], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**{name: row[name] for name in fixed}, **row["metrics"]})
    return text.getvalue()


def to_json(job: resources_pb2.SearchJob, trials: Iterable[resources_pb2.Trial]) -> str:
    """The job and the trials in the order given."""
    content = {
        "job": job.name,
        "display_name": job.display_name,
        "state": resources_pb2.SearchJob.State.Name(job.state),
        "output_dir": job.output_dir,
        "trials": [_row(trial) for trial in trials],
    }
    return json.dumps(content, indent=2) + "\n"


def write_trials(path: Path, job: resources_pb2.SearchJob, trials: Sequence[resources_pb2.Trial]) -> None:
    """Writes the trials to `path`: CSV by number when it ends in .csv, JSON in the order given otherwise.

    Raises:
      CommandError: if it cannot be written; what stood there stays.
    """
    content = to_csv(trials) if path.suffix == ".csv" else to_json(job, trials)
    try:
        write_atomically(path, content.encode())
    except OSError as error:
        raise CommandError(f"--trials_output_file={path}: cannot be written ({error.strerror})") from error


def write_files(job: resources_pb2.SearchJob, trials: Sequence[resources_pb2.Trial]) -> list[Path]:
    """Writes the CSV and the chart into the job's directory; returns what was written.

    Raises:
      CommandError: if they cannot be written.
    """
    directory = Path(job.output_dir)
    if not job.output_dir or not directory.is_dir() or not trials:
        return []
    # It takes half a second to import and only the end of a search needs it.
    from nas_client import chart

    searched = by_stage(trials, resources_pb2.Trial.SEARCH)
    paths = [directory / CSV_NAME, *([directory / CHART_NAME] if searched else [])]
    try:
        write_atomically(paths[0], to_csv(trials).encode())
        if searched:
            write_atomically(paths[1], chart.draw(job, searched))
    except OSError as error:
        raise CommandError(f"{directory}: the results cannot be written ({error.strerror})") from error
    return paths


def _row(trial: resources_pb2.Trial) -> dict[str, Any]:
    return {
        "trial": trial_number(trial),
        "stage": resources_pb2.Trial.Stage.Name(trial.stage or resources_pb2.Trial.SEARCH),
        "state": resources_pb2.Trial.State.Name(trial.state),
        "reward": wording.reward(trial),
        "metrics": dict(sorted(trial.metrics.items())),
        "start_time": _time(trial, "start_time"),
        "end_time": _time(trial, "end_time"),
        "seconds": wording.train_seconds(trial),
        "train_attempts": trial.train_attempts,
        "source_trial": trial.source_trial,
        "error_message": trial.error_message,
        "infeasible_reason": trial.infeasible_reason,
        "trial_dir": trial.trial_dir,
        "nas_params_str": trial.nas_params_str,
    }


def _time(trial: resources_pb2.Trial, field: str) -> str:
    if not trial.HasField(field):
        return ""
    return to_datetime(getattr(trial, field)).isoformat(timespec="milliseconds")


def _relative(trial_dir: str, output_dir: str) -> str:
    inside = output_dir and trial_dir.startswith(output_dir.rstrip("/") + "/")
    return trial_dir[len(output_dir.rstrip("/")) + 1 :] if inside else trial_dir
