"""What a trial is worth (MnasNet, arXiv 1807.11626, section 3, equations 2 and 3).

    reward = metric * (T_latency / latency)^w * (T_memory / memory)^w

Every target is a factor and the factors multiply. FLOPs may stand in for latency; a reward of
both would count one cost twice and is refused. This is the file to edit to reward something
else: `compute` gets every metric of the trial by name, the trainer's and the latency
calculator's.

The paper writes `(latency / T)^w` with w <= 0. Here the ratio is turned round, so exponents
are 0 or more and a greater one always means a stricter target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

SOFT_EXPONENT = 0.07
"""5 % more accuracy for twice the latency: equal reward (paper, section 3)."""

HARD_EXPONENT = 1.0


class RewardSpecError(ValueError):
    """The reward a user asks for makes no sense; names the field. Do not retry."""


class RewardError(ValueError):
    """The metrics of a trial give no reward; names the metric. Do not retry."""


class Form(Enum):
    """How a target turns a measured cost into a factor of the reward."""

    SOFT = "soft"
    """Exponent 0.07 on both sides: being below the target pays, being above it costs."""
    HARD = "hard"
    """No bonus up to the target; exponent 1 above it."""
    EXPONENTS = "exponents"
    """Exponent `alpha` up to the target and `beta` above it."""


@dataclass(frozen=True)
class Target:
    """A cost that a network is meant to have.

    Attributes:
      value: the target, in the unit of the field that holds it; greater than 0.
      form: see `Form`.
      alpha: `EXPONENTS` only: exponent up to the target, 0 or more.
      beta: `EXPONENTS` only: exponent above the target, 0 or more.
    """

    value: float
    form: Form = Form.SOFT
    alpha: float = 0.0
    beta: float = 0.0

    def validate(self, field: str) -> None:
        """Raises RewardSpecError, naming `field`, unless the target makes sense."""
        if not (math.isfinite(self.value) and self.value > 0):
            raise RewardSpecError(f"{field}.value: found {self.value}; expected a number above 0")
        for name, exponent in (("alpha", self.alpha), ("beta", self.beta)):
            if not (math.isfinite(exponent) and exponent >= 0):
                raise RewardSpecError(f"{field}.{name}: found {exponent}; expected a number of 0 or more")
            if exponent and self.form is not Form.EXPONENTS:
                raise RewardSpecError(
                    f"{field}.{name}: found {exponent} with form {self.form.name}; an exponent "
                    "of your own needs form EXPONENTS"
                )

    def exponents(self) -> tuple[float, float]:
        """The exponents (alpha, beta) up to the target and above it."""
        if self.form is Form.SOFT:
            return SOFT_EXPONENT, SOFT_EXPONENT
        if self.form is Form.HARD:
            return 0.0, HARD_EXPONENT
        return self.alpha, self.beta

    def factor(self, measured: float) -> float:
        """`(value / measured)^exponent`: 1 at the target, less above it.

        Args:
          measured: what the network costs, in the unit of `value`; finite and above 0.
        """
        alpha, beta = self.exponents()
        return (self.value / measured) ** (alpha if measured <= self.value else beta)


@dataclass(frozen=True)
class RewardSpec:
    """What the reward of a job is made of.

    Attributes:
      metric: metric of the trainer that is to be high, e.g. `top_1_accuracy`.
      latency_ms: target for the median latency of one inference, in milliseconds.
      memory_mb: target for the memory of the model while it runs, in units of 10^6 bytes.
      multiply_adds_billion: target for the multiply-adds of one inference, in billions;
          excludes `latency_ms`.
    """

    metric: str
    latency_ms: Target | None = None
    memory_mb: Target | None = None
    multiply_adds_billion: Target | None = None

    def validate(self) -> None:
        """Raises RewardSpecError, naming the field, unless the reward makes sense."""
        if not self.metric:
            raise RewardSpecError("reward.metric: found nothing; expected the name of a metric")
        if self.latency_ms is not None and self.multiply_adds_billion is not None:
            raise RewardSpecError(
                "reward.latency_ms and reward.multiply_adds_billion: found both; expected at "
                "most one, since FLOPs stand in for latency"
            )
        for field, target in (
            ("latency_ms", self.latency_ms),
            ("memory_mb", self.memory_mb),
            ("multiply_adds_billion", self.multiply_adds_billion),
        ):
            if target is not None:
                target.validate(f"reward.{field}")

    @property
    def needs_measurement(self) -> bool:
        """Whether the reward takes metrics of a latency calculator."""
        return self.latency_ms is not None or self.memory_mb is not None


def compute(spec: RewardSpec, metrics: Mapping[str, float]) -> float:
    """The reward of a trial; higher is better.

    Args:
      spec: a valid spec.
      metrics: final metrics by name. Read are `spec.metric` and, for the targets that are
          set, `latency_p50_ms`, `memory_bytes` and `multiply_adds`.
    Raises:
      RewardError: a metric is missing, not finite, or not above 0 where it is divided by.
    """
    reward = _finite(metrics, spec.metric)
    factors = []
    if spec.latency_ms is not None:
        factors.append(spec.latency_ms.factor(_positive(metrics, "latency_p50_ms")))
    if spec.memory_mb is not None:
        factors.append(spec.memory_mb.factor(_positive(metrics, "memory_bytes") / 1e6))
    if spec.multiply_adds_billion is not None:
        factors.append(spec.multiply_adds_billion.factor(_positive(metrics, "multiply_adds") / 1e9))
    if factors and reward < 0:
        # A factor below 1 would make a negative reward better: the slower, the higher.
        raise RewardError(f"metric {spec.metric!r} is {reward}; a reward with targets needs 0 or more")
    return reward * math.prod(factors)


def _finite(metrics: Mapping[str, float], name: str) -> float:
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        raise RewardError(f"metric {name!r} is missing; the trial reported: {known}")
    value = metrics[name]
    if not math.isfinite(value):
        raise RewardError(f"metric {name!r} is {value}; expected a finite number")
    return value


def _positive(metrics: Mapping[str, float], name: str) -> float:
    value = _finite(metrics, name)
    if value <= 0:
        raise RewardError(f"metric {name!r} is {value}; expected a number above 0")
    return value
