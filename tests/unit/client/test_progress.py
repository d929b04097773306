"""What is known of a running search, and how it is put into words."""

from datetime import UTC, datetime, timedelta

import pytest
from nas.v1 import resources_pb2

from nas_client import wording
from nas_client.progress import Progress

_Job = resources_pb2.SearchJob
_Trial = resources_pb2.Trial
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def job(*, settled: int = 0, total: int = 10) -> _Job:
    job = _Job(name="searchJobs/7", state=_Job.RUNNING)
    job.spec.limits.max_trial_count = total
    job.trial_counts.succeeded = settled
    return job


def trial(number: int, state: int, *, started: float | None = None, ended: float | None = None) -> _Trial:
    trial = _Trial(name=f"searchJobs/7/trials/{number}", state=state)
    if started is not None:
        trial.start_time.FromDatetime(NOON + timedelta(seconds=started))
    if ended is not None:
        trial.end_time.FromDatetime(NOON + timedelta(seconds=ended))
    return trial


def test_a_settled_trial_is_news_once_however_often_it_is_told() -> None:
    progress = Progress(job())
    assert progress.update(job(), [trial(1, _Trial.ACTIVE)]) == []
    assert len(progress.update(job(settled=1), [trial(1, _Trial.SUCCEEDED)])) == 1
    assert progress.update(job(settled=1), [trial(1, _Trial.SUCCEEDED)]) == []
    assert progress.settled_count == 1


def test_trials_of_an_earlier_run_are_no_news() -> None:
    progress = Progress(job(settled=1), [trial(1, _Trial.SUCCEEDED), trial(2, _Trial.CANCELLED)])
    assert progress.update(job(), [trial(1, _Trial.SUCCEEDED), trial(2, _Trial.CANCELLED)]) == []
    assert len(progress.update(job(), [trial(3, _Trial.FAILED)])) == 1


def test_a_state_that_arrives_late_does_not_reopen_a_settled_trial() -> None:
    progress = Progress(job())
    progress.update(job(), [trial(1, _Trial.SUCCEEDED)])
    progress.update(None, [trial(1, _Trial.ACTIVE)])
    assert progress.open_trials == []


def test_open_trials_come_by_number() -> None:
    progress = Progress(job())
    progress.update(job(), [trial(10, _Trial.ACTIVE), trial(9, _Trial.REQUESTED), trial(2, _Trial.STOPPING)])
    assert [open_trial.name[-2:] for open_trial in progress.open_trials] == ["/2", "/9", "10"]


def test_the_end_is_not_guessed_before_the_first_trial_has_settled() -> None:
    progress = Progress(job())
    progress.update(job(), [trial(1, _Trial.ACTIVE, started=0)])
    assert progress.eta_seconds(NOON) is None


def test_the_end_is_guessed_from_how_long_trials_take_and_how_many_run_at_once() -> None:
    progress = Progress(job())
    trials = [
        trial(1, _Trial.SUCCEEDED, started=0, ended=20),
        trial(2, _Trial.SUCCEEDED, started=0, ended=20),
        trial(3, _Trial.ACTIVE, started=20),
        trial(4, _Trial.ACTIVE, started=20),
    ]
    progress.update(job(settled=2), trials)
    # Two under way with 10 s left each, and six more of 20 s, two at a time.
    assert progress.eta_seconds(NOON + timedelta(seconds=30)) == pytest.approx((2 * 10 + 6 * 20) / 2)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (102, "1:42"), (7509, "2:05:09"), (-3, "0:00")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (0, "0"),
        (812, "812"),
        (12_500, "12.5K"),
        (3_000_000, "3.00M"),
        (312.3e6, "312M"),
        (1.2e9, "1.20B"),
    ],
)
def test_amounts_have_three_digits_and_a_unit(number: float | None, text: str) -> None:
    assert wording.amount(number) == text


def test_a_settled_trial_says_what_it_is_worth() -> None:
    done = trial(4, _Trial.SUCCEEDED, started=0, ended=12.34)
    done.reward, done.train_attempts = 0.97123, 2
    done.metrics.update({"top_1_accuracy": 0.975, "latency_p50_ms": 2.314, "parameters": 3.4e6})
    line = wording.settled_line(done, "top_1_accuracy")
    for part in (
        "trial   4",
        "succeeded",
        "reward 0.9712",
        "top_1_accuracy 0.9750",
        "latency 2.31 ms",
        "3.40M",
    ):
        assert part in line
    assert "12.3 s" in line
    assert "attempt 2" in line


def test_a_failed_trial_says_why() -> None:
    failed = trial(4, _Trial.FAILED)
    failed.error_message = "the loss is NaN at step 30"
    line = wording.settled_line(failed, "top_1_accuracy")
    assert "failed" in line
    assert "the loss is NaN at step 30" in line
