"""The picture of a search: rewards over trials with the best so far, and what they are made of beside it."""

import io
import itertools
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, MaxNLocator
from nas.v1 import resources_pb2

from nas_client import wording
from nas_client.client import trial_number

_INK = "#1f2933"
_MUTED = "#7b8794"
_GRID = "#e4e7eb"
_DOT = "#3b82f6"
_LINE = "#0f766e"
_BEST = "#d97706"
_BAD = "#dc2626"
_ODD = "#8b5cf6"

_Trial = resources_pb2.Trial
# Above this many trials, dots shrink until the crowd shows its density.
_MANY = 300


def draw(job: resources_pb2.SearchJob, trials: Sequence[resources_pb2.Trial]) -> bytes:
    """PNG of the search, 1650 x 900 pixels; needs no display."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(11, 6), dpi=150, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1))
    ordered = sorted(trials, key=trial_number)
    succeeded = [trial for trial in ordered if trial.state == _Trial.SUCCEEDED and trial.HasField("reward")]
    best = max(succeeded, key=lambda trial: trial.reward, default=None)

    _draw_rewards(figure.add_subplot(grid[:, 0]), job, ordered, succeeded, best)
    metric = job.spec.reward.metric
    _draw_metric(figure.add_subplot(grid[0, 1]), succeeded, best, metric, metric, target=None)
    _draw_cost(figure.add_subplot(grid[1, 1]), job, succeeded, best)

    figure.suptitle(
        _title(job, ordered, succeeded), x=0.012, ha="left", fontsize=14, fontweight="bold", color=_INK
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _title(
    job: resources_pb2.SearchJob,
    trials: Sequence[resources_pb2.Trial],
    succeeded: Sequence[resources_pb2.Trial],
) -> str:
    kind = resources_pb2.Algorithm.Kind.Name(job.spec.algorithm.kind).lower().replace("_", " ")
    algorithm = kind if job.spec.algorithm.kind else "default algorithm"
    plural = "" if len(trials) == 1 else "s"
    others = len(trials) - len(succeeded)
    without = f", {others} without a reward" if others else ""
    return f"{job.display_name} · {job.spec.search_space}, {algorithm} · {len(trials)} trial{plural}{without}"


def _draw_rewards(
    axes: Axes,
    job: resources_pb2.SearchJob,
    trials: Sequence[resources_pb2.Trial],
    succeeded: Sequence[resources_pb2.Trial],
    best: resources_pb2.Trial | None,
) -> None:
    _dress(axes, "reward")
    numbers = [trial_number(trial) for trial in succeeded]
    rewards = [trial.reward for trial in succeeded]
    if succeeded:
        running_best = list(itertools.accumulate(rewards, max))
        last = trial_number(trials[-1])
        axes.step(
            [*numbers, last],
            [*running_best, running_best[-1]],
            where="post",
            color=_LINE,
            linewidth=2.2,
            label="best so far",
            zorder=2,
        )
    axes.scatter(
        numbers,
        rewards,
        s=_size(len(trials)),
        color=_DOT,
        alpha=0.85 if len(trials) < _MANY else 0.4,
        edgecolors="white",
        linewidths=0.8,
        label="trial",
        zorder=3,
    )
    if best is not None:
        axes.scatter(
            [trial_number(best)],
            [best.reward],
            s=max(3 * _size(len(trials)), 120.0),
            marker="*",
            color=_BEST,
            edgecolors="white",
            linewidths=0.8,
            label=f"best: trial {trial_number(best)}, {best.reward:.4f}",
            zorder=4,
        )
    _focus(axes, rewards)
    _draw_unrewarded(axes, trials)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if trials:
        # Beside the title, where no trial can hide behind it.
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=5,
            frameon=False,
            fontsize=9,
            labelcolor=_INK,
            handlelength=1.2,
            handletextpad=0.4,
            columnspacing=1.1,
            borderaxespad=0.1,
        )


def _draw_unrewarded(axes: Axes, trials: Sequence[resources_pb2.Trial]) -> None:
    """Crosses on the lower edge: they have a number but no reward."""
    for state, color, label in (
        (_Trial.FAILED, _BAD, "failed"),
        (_Trial.INFEASIBLE, _ODD, "infeasible"),
        (_Trial.CANCELLED, _MUTED, "cancelled"),
    ):
        numbers = [trial_number(trial) for trial in trials if trial.state == state]
        if numbers:
            axes.scatter(
                numbers,
                [0.02] * len(numbers),
                transform=axes.get_xaxis_transform(),
                marker="x",
                s=_size(len(trials)) * 0.7,
                color=color,
                linewidths=1.8,
                label=label,
                clip_on=False,
                zorder=3,
            )


def _draw_cost(
    axes: Axes,
    job: resources_pb2.SearchJob,
    succeeded: Sequence[resources_pb2.Trial],
    best: resources_pb2.Trial | None,
) -> None:
    """Latency where it was measured, multiply-adds where not."""
    reward = job.spec.reward
    if any(wording.LATENCY in trial.metrics for trial in succeeded):
        target = reward.latency_ms.value if reward.HasField("latency_ms") else None
        _draw_metric(axes, succeeded, best, wording.LATENCY, "latency p50, ms", target=target)
        return
    target = reward.multiply_adds_billion.value * 1e9 if reward.HasField("multiply_adds_billion") else None
    _draw_metric(axes, succeeded, best, wording.MULTIPLY_ADDS, "multiply-adds", target=target)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _draw_metric(
    axes: Axes,
    succeeded: Sequence[resources_pb2.Trial],
    best: resources_pb2.Trial | None,
    metric: str,
    label: str,
    *,
    target: float | None,
) -> None:
    _dress(axes, label)
    points = [
        (trial_number(trial), trial.metrics[metric], trial is best)
        for trial in succeeded
        if metric in trial.metrics
    ]
    if not points:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=_MUTED)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    values = [value for _, value, _ in points]
    axes.scatter(
        [number for number, _, _ in points],
        values,
        s=_size(len(points)) * 0.5,
        color=_DOT,
        alpha=0.85 if len(points) < _MANY else 0.4,
        edgecolors="white",
        linewidths=0.6,
        zorder=3,
    )
    for number, value, is_best in points:
        if is_best:
            axes.scatter(
                [number],
                [value],
                s=110,
                marker="*",
                color=_BEST,
                edgecolors="white",
                linewidths=0.7,
                zorder=4,
            )
    if target is not None:
        axes.axhline(target, color=_BAD, linewidth=1.2, linestyle=(0, (5, 3)), zorder=2)
        axes.annotate(
            f"target {wording.amount(target) if target >= 1e3 else f'{target:g}'}",
            (1.0, target),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8.5,
            color=_BAD,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )
    _focus(axes, [*values, *([target] if target is not None else [])])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=_INK, fontsize=10.5, fontweight="bold", pad=8)
    axes.set_xlabel("trial", color=_INK, fontsize=9.5)
    axes.grid(color=_GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, labelsize=9, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GRID)


def _focus(axes: Axes, values: Sequence[float]) -> None:
    """Leaves room around the values, also when all are the same."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return
    low, high = min(finite), max(finite)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    axes.set_ylim(low - margin, high + margin)


def _size(count: int) -> float:
    """Area of a dot, in points squared."""
    return 70.0 if count <= 60 else 40.0 if count <= _MANY else 14.0
