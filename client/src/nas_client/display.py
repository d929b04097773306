"""The terminal while a search runs: a pinned bar and the running trials under a growing list of settled ones.

Where the output is no terminal, the list alone, as plain lines.
"""

import sys
import time
from datetime import datetime
from types import TracebackType
from typing import Self

from nas.v1 import resources_pb2
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from nas_client import wording
from nas_client.client import trial_number
from nas_client.progress import Progress, now, to_datetime

_Job = resources_pb2.SearchJob
_Trial = resources_pb2.Trial

_TRIALS_SHOWN = 8
_PLAIN_WIDTH = 160
_STYLES = {
    _Trial.SUCCEEDED: "green",
    _Trial.INFEASIBLE: "yellow",
    _Trial.FAILED: "red",
    _Trial.CANCELLED: "dim",
}


def make_console() -> Console:
    """A console on standard output; lines that go to a file or a pipe are not cut at 80 columns."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PLAIN_WIDTH)


class Display:
    """What the user sees of `progress`; nothing is pinned on a console that is no terminal."""

    def __init__(self, console: Console, progress: Progress):
        self._console = console
        self._progress = progress
        self._started = time.monotonic()
        self._note = ""
        self._spinner = Spinner("dots", style="cyan")
        # Redrawn by `refresh` only: the state it shows changes between two refreshes, never within one.
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            # The last state stays on the screen only while it is worth something.
            self._live.update(Text(""), refresh=True)
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def note(self, text: str) -> None:
        """What goes on beside the trials, e.g. that the search is being cancelled; pinned, and a line too."""
        self._note = text
        self.say(text, "bold yellow")

    def settled(self, trial: resources_pb2.Trial) -> None:
        """A line about a trial that has settled."""
        job = self._progress.job
        line = wording.settled_line(trial, job.spec.reward.metric)
        best = trial.name == job.best_trial
        text = Text(line, style=_STYLES.get(trial.state, ""))
        if best:
            text.append("  ★ best so far", style="bold magenta")
        self._console.print(text, soft_wrap=True)

    def refresh(self) -> None:
        """Redraws the pinned part."""
        if self._live:
            self._live.update(self._pinned(), refresh=True)

    def _pinned(self) -> RenderableType:
        progress, moment = self._progress, now()
        rows: list[RenderableType] = [Text(""), self._bar(moment), self._counts()]
        if progress.open_trials:
            rows.append(self._running(moment))
        if self._note:
            rows.append(Text(f"  {self._note}", style="yellow"))
        return Group(*rows)

    def _bar(self, moment: datetime) -> RenderableType:
        progress = self._progress
        settled, total = progress.settled_count, max(progress.max_count, 1)
        eta = progress.eta_seconds(moment)
        times = f"{wording.duration(time.monotonic() - self._started)} elapsed"
        if eta is not None and progress.job.state == _Job.RUNNING:
            times += f" · about {wording.duration(eta)} left"
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            self._spinner,
            Text(progress.job.display_name, style="bold"),
            ProgressBar(total=total, completed=settled, width=32, complete_style="green"),
            Text(f"{settled}/{total} trials", style="bold"),
            Text(times, style="dim"),
        )
        return grid

    def _counts(self) -> RenderableType:
        job = self._progress.job
        counts = job.trial_counts if self._progress.searches else job.train_trial_counts
        text = Text("  ")
        text.append(f"✔ {counts.succeeded} done", style="green" if counts.succeeded else "dim")
        text.append(f"   ▶ {counts.open} running", style="cyan" if counts.open else "dim")
        text.append(f"   ✘ {counts.failed} failed", style="bold red" if counts.failed else "dim")
        text.append(f"   ○ {counts.infeasible} infeasible", style="yellow" if counts.infeasible else "dim")
        trained = job.train_trial_counts
        if self._progress.searches and trained.created:
            text.append(f"   ◆ stage 2: {trained.succeeded} done, {trained.open} running", style="blue")
        if job.HasField("best_reward"):
            number = job.best_trial.rpartition("/")[2]
            text.append(f"   ★ best reward {job.best_reward:.4f}", style="bold magenta")
            text.append(f" (trial {number})", style="magenta")
        return text

    def _running(self, moment: datetime) -> RenderableType:
        trials = self._progress.open_trials
        grid = Table.grid(padding=(0, 2))
        for trial in trials[:_TRIALS_SHOWN]:
            grid.add_row(
                Text(f"  trial {trial_number(trial):>3}{wording.source(trial)}", style="bold"),
                Text(_activity(trial), style="cyan" if trial.state == _Trial.ACTIVE else "dim"),
                Text(_measurement(trial)),
                Text(_elapsed(trial, moment), style="dim"),
            )
        if len(trials) > _TRIALS_SHOWN:
            grid.add_row(Text(f"  … and {len(trials) - _TRIALS_SHOWN} more", style="dim"))
        return grid


def _activity(trial: resources_pb2.Trial) -> str:
    if trial.state == _Trial.REQUESTED:
        return "waiting for a trainer"
    if trial.state == _Trial.STOPPING:
        return "stopping"
    return "training" if trial.latest_measurement.step else "building"


def _measurement(trial: resources_pb2.Trial) -> str:
    latest = trial.latest_measurement
    if not latest.step:
        return ""
    loss = latest.metrics.get("loss")
    return f"step {latest.step}" + (f"  loss {loss:.4f}" if loss is not None else "")


def _elapsed(trial: resources_pb2.Trial, moment: datetime) -> str:
    if not trial.HasField("start_time"):
        return ""
    return wording.duration((moment - to_datetime(trial.start_time)).total_seconds())
