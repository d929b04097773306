"""From single inferences to the figures that are reported. Pure: no clock, no device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_WARMUP_COUNT = 10
MIN_WARMUP_SECONDS = 0.2
SLOW_WARMUP_COUNT = 3
SLOW_WARMUP_SECONDS = 2.0


@dataclass(frozen=True)
class Summary:
    """Latency of one inference, in milliseconds, over `count` of them.

    Attributes:
      p50_ms, p90_ms: percentiles, interpolated between neighbours.
      std_ms: sample standard deviation; 0 for a single sample.
    """

    count: int
    p50_ms: float
    p90_ms: float
    mean_ms: float
    std_ms: float
    min_ms: float


def summarize(samples_ms: Sequence[float]) -> Summary:
    """Summarises timed inferences.

    Args:
      samples_ms: one latency per inference, finite, at least one. None is dropped: a slow
        inference on a busy machine belongs to what was seen.
    Raises:
      ValueError: there is no sample, or one is not finite.
    """
    if not samples_ms:
        raise ValueError("no sample to summarise")
    if not all(map(math.isfinite, samples_ms)):
        raise ValueError("a sample is not finite")
    count = len(samples_ms)
    mean = math.fsum(samples_ms) / count
    variance = math.fsum((sample - mean) ** 2 for sample in samples_ms) / max(count - 1, 1)
    return Summary(
        count=count,
        p50_ms=percentile(samples_ms, 50),
        p90_ms=percentile(samples_ms, 90),
        mean_ms=mean,
        std_ms=math.sqrt(variance),
        min_ms=min(samples_ms),
    )


def percentile(samples: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the samples lie, linear between neighbours.

    Definition 7 of Hyndman and Fan (1996), which is also NumPy's default.
    """
    ordered = sorted(samples)
    rank = (len(ordered) - 1) * percent / 100
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def is_warm(count: int, elapsed_seconds: float) -> bool:
    """Whether enough untimed inferences have run.

    The first ones trace, plan and fill caches. Ten of them over 0.2 s see to that; of a model
    that takes its time, three over 2 s.
    """
    return (count >= MIN_WARMUP_COUNT and elapsed_seconds >= MIN_WARMUP_SECONDS) or (
        count >= SLOW_WARMUP_COUNT and elapsed_seconds >= SLOW_WARMUP_SECONDS
    )
