"""The figures made of single inferences."""

import math
import random

import numpy as np
import pytest

from nas_latency import statistics


def test_summary_agrees_with_numpy():
    generator = random.Random(0)
    for count in (2, 3, 10, 99, 100, 1001):
        samples = [generator.lognormvariate(1, 0.5) for _ in range(count)]
        summary = statistics.summarize(samples)
        assert summary.count == count
        assert summary.p50_ms == pytest.approx(np.percentile(samples, 50))
        assert summary.p90_ms == pytest.approx(np.percentile(samples, 90))
        assert summary.mean_ms == pytest.approx(np.mean(samples))
        assert summary.std_ms == pytest.approx(np.std(samples, ddof=1))
        assert summary.min_ms == min(samples)


def test_single_sample_is_its_own_summary():
    summary = statistics.summarize([2.5])
    assert (summary.p50_ms, summary.p90_ms, summary.mean_ms, summary.min_ms) == (2.5,) * 4
    assert summary.std_ms == 0
    assert summary.count == 1


def test_outlier_moves_the_mean_but_not_the_median():
    quiet = statistics.summarize([1.0] * 99)
    disturbed = statistics.summarize([1.0] * 98 + [1000.0])
    assert disturbed.p50_ms == quiet.p50_ms == 1.0
    assert disturbed.p90_ms == 1.0
    assert disturbed.mean_ms > 10


def test_order_of_samples_does_not_matter():
    samples = [3.0, 1.0, 2.0, 9.0]
    assert statistics.summarize(samples) == statistics.summarize(sorted(samples))


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_samples_that_say_nothing_are_refused(samples):
    with pytest.raises(ValueError, match="sample"):
        statistics.summarize(samples)


def test_fast_model_warms_up_for_a_fifth_of_a_second():
    assert not statistics.is_warm(10_000, 0.19)
    assert statistics.is_warm(10, 0.2)


def test_slow_model_warms_up_for_three_inferences():
    assert not statistics.is_warm(9, 1.9)
    assert not statistics.is_warm(2, 60.0)
    assert statistics.is_warm(3, 2.0)
