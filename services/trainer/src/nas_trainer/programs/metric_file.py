"""The file in which a program reports: JSON lines that it appends or rewrites, all values strings.

    {"timestamp": "1800000000.5", "trial": "7", "top_1_accuracy": "0.71", "global_step": "300",
     "checkpoint_path": "", "model_flops": "31000000", "key_0": "loss", "value_0": "0.9"}

Numbers in place of strings are understood, too.
"""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STEP = "global_step"
FLOPS = "model_flops"
_PAIRS = 5
_TEXTS = ("timestamp", "trial", "checkpoint_path")
# A program that reports faster than anybody looks: the orchestrator keeps the last of them anyway.
_MOST_AT_ONCE = 20


class MetricError(ValueError):
    """The file does not say what it must; the message says which line, and what was found.

    The program must be mended: the same one would write the same again.
    """


class OtherMetric(MetricError):
    """The program reports, but never the metric that the reward is made of."""


class NotFinite(MetricError):
    """The last value of the metric is NaN or infinite."""


@dataclass(frozen=True)
class Report:
    """One line.

    Attributes:
        step: `global_step`; 0 when the line has none.
        metrics: the metric, `model_flops` and the pairs that are numbers, finite or not.
        names: everything the line reports, for the person who looks for a metric in vain.
    """

    step: int
    metrics: Mapping[str, float]
    names: tuple[str, ...]

    @property
    def finite(self) -> dict[str, float]:
        """The metrics that can be sent."""
        return {name: value for name, value in self.metrics.items() if math.isfinite(value)}


class MetricFile:
    """Reads the file while the program runs and, strictly, when it has ended.

    Args:
        path: the file; it need not exist.
        metric: name of the metric that the reward is made of.
    """

    def __init__(self, path: Path, metric: str):
        self._path = path
        self._metric = metric
        self._stamp: tuple[int, int, int] | None = None
        self._seen: list[str] = []

    def news(self) -> list[Report]:
        """Lines that came since the last call, oldest first, at most the last 20.

        Lines that are not whole yet or hold no report are left for `result` to judge.
        """
        # One stat(2) a call: watching a single file is not worth an inotify library of its own.
        try:
            status = os.stat(self._path)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if stamp == self._stamp:
                return []
            lines = _whole_lines(_read(self._path))
        except OSError:
            return []
        self._stamp = stamp
        if not lines:
            # Truncated, to be written anew: what it said was told already.
            return []
        fresh = _after(self._seen, lines)
        self._seen = lines
        reports = []
        for line in fresh[-_MOST_AT_ONCE:]:
            try:
                reports.append(self._parse(line))
            except MetricError:
                continue
        return reports

    def result(self) -> Report | None:
        """The last report with the metric, from a program that has ended; None: it reported nothing.

        Raises:
            OtherMetric: no line has the metric.
            NotFinite: the metric is NaN or infinite in the last line that has it.
            MetricError: a line is no report.
        """
        try:
            text = _read(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MetricError(f"cannot read {self._path}: {error.strerror}") from error
        reports = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    reports.append(self._parse(line))
                except MetricError as error:
                    raise MetricError(f"{self._path}, line {number}: {error}") from error
        if not reports:
            return None
        ours = [report for report in reports if self._metric in report.metrics]
        if not ours:
            names = ", ".join(sorted({name for report in reports for name in report.names})) or "no metric"
            raise OtherMetric(f"{self._path}: found {names}; expected the reward metric {self._metric!r}")
        value = ours[-1].metrics[self._metric]
        if not math.isfinite(value):
            raise NotFinite(f"{self._metric}: found {value} in the last line of {self._path}")
        return ours[-1]

    def _parse(self, line: str) -> Report:
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise MetricError(f"found {_shortened(line)}; expected one whole JSON object") from error
        if not isinstance(fields, dict):
            raise MetricError(f"found {_shortened(line)}; expected a JSON object")
        metrics: dict[str, float] = {}
        names = []
        for index in range(_PAIRS):
            name, value = fields.pop(f"key_{index}", None), fields.pop(f"value_{index}", None)
            if name:
                names.append(str(name))
                number = _number(value)
                if number is not None:
                    metrics[str(name)] = number
        step = _number(fields.pop(STEP, None) or 0)
        if step is None or not math.isfinite(step):
            raise MetricError(f"{STEP}: found {_shortened(line)}; expected a whole number")
        flops = _number(fields.pop(FLOPS, None))
        if flops is not None:
            metrics[FLOPS] = flops
        if self._metric in fields:
            value = _number(fields[self._metric])
            if value is None:
                raise MetricError(f"{self._metric}: found {fields[self._metric]!r}; expected a number")
            metrics[self._metric] = value
        names.extend(name for name in fields if name not in _TEXTS)
        return Report(int(step), metrics, tuple(names))


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def _whole_lines(text: str) -> list[str]:
    """The lines that are complete; the last one counts without its end if it is JSON."""
    *lines, last = text.split("\n")
    if last.strip():
        with contextlib.suppress(ValueError):
            json.loads(last)
            lines.append(last)
    return [line for line in lines if line.strip()]


def _after(seen: list[str], lines: list[str]) -> list[str]:
    """What `lines` add to `seen`: appended ones, those after a window that moved on, or all."""
    if lines[: len(seen)] == seen:
        return lines[len(seen) :]
    for index in range(len(lines) - 1, -1, -1):
        if lines[index] == seen[-1]:
            return lines[index + 1 :]
    return lines


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _shortened(text: str) -> str:
    shown = repr(text.strip())
    return shown if len(shown) <= 120 else shown[:117] + "..."
