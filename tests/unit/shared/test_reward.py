"""The reward of equations 2 and 3 of the MnasNet paper, and what it refuses."""

import math

import pytest

from nas_shared import reward
from nas_shared.reward import Form, RewardError, RewardSpec, RewardSpecError, Target

METRICS = {
    "top_1_accuracy": 0.8,
    "latency_p50_ms": 100.0,
    "memory_bytes": 50e6,
    "multiply_adds": 300e6,
}


def test_reward_without_targets_is_the_metric():
    assert reward.compute(RewardSpec("top_1_accuracy"), METRICS) == 0.8


def test_soft_target_pays_below_and_costs_above():
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(50.0))
    assert reward.compute(spec, METRICS) == pytest.approx(0.8 * 0.5**0.07)
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 25.0}) == pytest.approx(0.8 * 2**0.07)
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 50.0}) == pytest.approx(0.8)


def test_soft_target_trades_twice_the_latency_for_five_percent_accuracy():
    # Section 3 of the paper: M1 (latency l, accuracy a) ~ M2 (latency 2l, accuracy 1.05a).
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(80.0))
    one = reward.compute(spec, {"top_1_accuracy": 0.7, "latency_p50_ms": 40.0})
    two = reward.compute(spec, {"top_1_accuracy": 0.7 * 1.05, "latency_p50_ms": 80.0})
    assert one == pytest.approx(two, rel=2e-3)


def test_hard_target_gives_no_bonus_below_and_weight_one_above():
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(50.0, Form.HARD))
    assert reward.compute(spec, METRICS) == pytest.approx(0.4)
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 1e-3}) == 0.8
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 50.0}) == 0.8


def test_exponents_apply_on_their_own_side():
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(100.0, Form.EXPONENTS, alpha=0.5, beta=2.0))
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 25.0}) == pytest.approx(0.8 * 2)
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 100.0}) == pytest.approx(0.8)
    assert reward.compute(spec, {**METRICS, "latency_p50_ms": 200.0}) == pytest.approx(0.8 / 4)


def test_memory_multiplies_in_with_latency_or_flops():
    memory = Target(25.0, Form.HARD)
    with_latency = RewardSpec("top_1_accuracy", latency_ms=Target(50.0, Form.HARD), memory_mb=memory)
    assert reward.compute(with_latency, METRICS) == pytest.approx(0.8 / 2 / 2)
    with_flops = RewardSpec("top_1_accuracy", memory_mb=memory, multiply_adds_billion=Target(0.1, Form.HARD))
    assert reward.compute(with_flops, METRICS) == pytest.approx(0.8 / 2 / 3)


def test_a_dearer_network_is_never_worth_more():
    for target in (Target(50.0), Target(50.0, Form.HARD), Target(50.0, Form.EXPONENTS, 0.1, 0.9)):
        spec = RewardSpec("top_1_accuracy", latency_ms=target)
        rewards = [reward.compute(spec, {**METRICS, "latency_p50_ms": float(ms)}) for ms in range(1, 200, 7)]
        assert rewards == sorted(rewards, reverse=True)


def test_only_device_targets_need_a_measurement():
    assert RewardSpec("m", latency_ms=Target(1.0)).needs_measurement
    assert RewardSpec("m", memory_mb=Target(1.0)).needs_measurement
    assert not RewardSpec("m", multiply_adds_billion=Target(1.0)).needs_measurement
    assert not RewardSpec("m").needs_measurement


@pytest.mark.parametrize("name", ["top_1_accuracy", "latency_p50_ms", "memory_bytes"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_missing_or_endless_metric_is_named(name, value):
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(50.0), memory_mb=Target(10.0))
    metrics = {**METRICS, name: value}
    if value is None:
        del metrics[name]
    with pytest.raises(RewardError, match=f"metric '{name}' is (missing|nan|inf|-inf)"):
        reward.compute(spec, metrics)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_cost_of_nothing_is_refused(value):
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(50.0))
    with pytest.raises(RewardError, match=r"metric 'latency_p50_ms' is .*; expected a number above 0"):
        reward.compute(spec, {**METRICS, "latency_p50_ms": value})


def test_negative_metric_is_refused_only_beside_targets():
    assert reward.compute(RewardSpec("minus_loss"), {"minus_loss": -2.0}) == -2.0
    spec = RewardSpec("minus_loss", latency_ms=Target(50.0))
    with pytest.raises(RewardError, match=r"'minus_loss' is -2.0; a reward with targets needs 0 or more"):
        reward.compute(spec, {"minus_loss": -2.0, "latency_p50_ms": 10.0})


def test_metric_of_zero_is_a_reward_of_zero():
    spec = RewardSpec("top_1_accuracy", latency_ms=Target(50.0))
    assert reward.compute(spec, {**METRICS, "top_1_accuracy": 0.0}) == 0.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (RewardSpec(""), "reward.metric: found nothing"),
        (RewardSpec("m", latency_ms=Target(0.0)), "reward.latency_ms.value: found 0.0; expected"),
        (RewardSpec("m", memory_mb=Target(-1.0)), "reward.memory_mb.value: found -1.0"),
        (RewardSpec("m", multiply_adds_billion=Target(math.nan)), "reward.multiply_adds_billion.value"),
        (RewardSpec("m", latency_ms=Target(math.inf)), "reward.latency_ms.value: found inf"),
        (
            RewardSpec("m", latency_ms=Target(1.0), multiply_adds_billion=Target(1.0)),
            "reward.latency_ms and reward.multiply_adds_billion: found both",
        ),
        (
            RewardSpec("m", latency_ms=Target(1.0, Form.EXPONENTS, -0.1, 0.1)),
            "reward.latency_ms.alpha: found -0.1; expected a number of 0 or more",
        ),
        (
            RewardSpec("m", latency_ms=Target(1.0, Form.EXPONENTS, 0.1, math.nan)),
            "reward.latency_ms.beta: found nan",
        ),
        (
            RewardSpec("m", memory_mb=Target(1.0, Form.HARD, beta=0.5)),
            "reward.memory_mb.beta: found 0.5 with form HARD",
        ),
    ],
)
def test_spec_that_makes_no_sense_names_the_field(spec, message):
    with pytest.raises(RewardSpecError) as error:
        spec.validate()
    assert message in str(error.value)


def test_valid_specs_pass():
    RewardSpec("m").validate()
    RewardSpec("m", latency_ms=Target(1.0), memory_mb=Target(1.0, Form.HARD)).validate()
    RewardSpec("m", multiply_adds_billion=Target(1.0, Form.EXPONENTS, 0.0, 0.5)).validate()
