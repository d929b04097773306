"""Numbers, durations and trials as people read them."""

from nas.v1 import resources_pb2

from nas_client.client import trial_number
from nas_client.progress import seconds_between

LATENCY = "latency_p50_ms"
PARAMETERS = "parameters"
MULTIPLY_ADDS = "multiply_adds"


def duration(seconds: float) -> str:
    """`0:07`, `1:42`, `2:05:09`."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def amount(number: float | None) -> str:
    """`812`, `12.5K`, `3.91M`, `1.20B`; a dash for None."""
    if number is None:
        return "–"
    for factor, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= factor:
            return f"{number / factor:#.3g}".rstrip(".") + unit
    return f"{number:.0f}"


def decimal(number: float | None, digits: int = 4) -> str:
    """`0.9712`; a dash for None."""
    return "–" if number is None else f"{number:.{digits}f}"


def metric(trial: resources_pb2.Trial, name: str) -> float | None:
    """A final metric of the trial, or None."""
    return trial.metrics.get(name)


def reward(trial: resources_pb2.Trial) -> float | None:
    """The trial's reward, or None."""
    return trial.reward if trial.HasField("reward") else None


def state(trial: resources_pb2.Trial) -> str:
    """`succeeded`, `failed` …"""
    return str(resources_pb2.Trial.State.Name(trial.state).lower())


def train_seconds(trial: resources_pb2.Trial) -> float | None:
    """From the first claim to the end, or None while there is none."""
    if trial.HasField("start_time") and trial.HasField("end_time"):
        return seconds_between(trial.start_time, trial.end_time)
    return None


def source(trial: resources_pb2.Trial) -> str:
    """` (stage 2 of trial 3)`; empty for a trial of the search."""
    if trial.stage != resources_pb2.Trial.TRAIN:
        return ""
    return f" (stage 2 of trial {trial.source_trial.rpartition('/')[2]})"


def settled_line(trial: resources_pb2.Trial, reward_metric: str) -> str:
    """One line about a trial that has settled."""
    parts = [f"trial {trial_number(trial):>3}{source(trial)}  {state(trial):<10}"]
    if trial.HasField("reward"):
        parts.append(f"reward {trial.reward:.4f}")
    if trial.state == resources_pb2.Trial.SUCCEEDED:
        parts += _metric_parts(trial, reward_metric)
    why = trial.error_message or trial.infeasible_reason
    if why:
        parts.append(why)
    seconds = train_seconds(trial)
    if seconds is not None:
        parts.append(f"{seconds:.1f} s" if seconds < 60 else duration(seconds))
    if trial.train_attempts > 1:
        parts.append(f"attempt {trial.train_attempts}")
    return "  ".join(parts)


def _metric_parts(trial: resources_pb2.Trial, reward_metric: str) -> list[str]:
    parts = []
    if reward_metric in trial.metrics:
        parts.append(f"{reward_metric} {trial.metrics[reward_metric]:.4f}")
    if LATENCY in trial.metrics:
        parts.append(f"latency {trial.metrics[LATENCY]:.2f} ms")
    if PARAMETERS in trial.metrics:
        parts.append(f"{amount(trial.metrics[PARAMETERS])} parameters")
    if MULTIPLY_ADDS in trial.metrics:
        parts.append(f"{amount(trial.metrics[MULTIPLY_ADDS])} multiply-adds")
    return parts
