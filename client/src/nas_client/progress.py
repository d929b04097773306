"""What a watched search looks like at this moment, folded from the messages of its watch stream."""

import statistics
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf import timestamp_pb2
from nas.v1 import resources_pb2

from nas_client.client import trial_number

SETTLED = frozenset(
    (
        resources_pb2.Trial.SUCCEEDED,
        resources_pb2.Trial.INFEASIBLE,
        resources_pb2.Trial.FAILED,
        resources_pb2.Trial.CANCELLED,
    )
)
# The newest trials say best how long the next ones take: the first ones also warmed the workers up.
_RECENT = 20


class Progress:
    """A job and its trials as far as they are known.

    Attributes:
      job: its last known state.
    """

    def __init__(self, job: resources_pb2.SearchJob, known: Iterable[resources_pb2.Trial] = ()):
        """Starts with `job` and the trials `known` from its earlier runs, whose settling is no news."""
        self.job = job
        self._open: dict[int, resources_pb2.Trial] = {}
        self._settled: set[int] = set()
        self._recent_seconds: deque[float] = deque(maxlen=_RECENT)
        self.update(job, known)

    def update(
        self, job: resources_pb2.SearchJob, trials: Iterable[resources_pb2.Trial]
    ) -> list[resources_pb2.Trial]:
        """Takes in newer states; returns the trials that have settled and were not returned before."""
        self.job = job
        news = []
        for trial in trials:
            number = trial_number(trial)
            # Settled is final; a state fetched a moment ago may arrive after the stream said more.
            if number in self._settled:
                continue
            if trial.state not in SETTLED:
                self._open[number] = trial
                continue
            self._open.pop(number, None)
            self._settled.add(number)
            is_typical = (trial.stage != resources_pb2.Trial.TRAIN) == self.searches
            if is_typical and trial.HasField("start_time") and trial.HasField("end_time"):
                self._recent_seconds.append(seconds_between(trial.start_time, trial.end_time))
            news.append(trial)
        return news

    @property
    def open_trials(self) -> list[resources_pb2.Trial]:
        """The trials that have not settled, by number."""
        return [trial for _, trial in sorted(self._open.items())]

    @property
    def settled_count(self) -> int:
        """Trials that count towards `max_count`."""
        counts = self.job.trial_counts if self.searches else self.job.train_trial_counts
        return int(counts.succeeded + counts.infeasible + counts.failed)

    @property
    def searches(self) -> bool:
        """Whether the job searches; one that only trains chosen trials does not."""
        return not self.job.spec.train_stage.trials

    @property
    def max_count(self) -> int:
        """Trials after which the search ends, or, of a job without one, the job."""
        spec = self.job.spec
        return int(spec.limits.max_trial_count) if self.searches else len(spec.train_stage.trials)

    def eta_seconds(self, now: datetime) -> float | None:
        """Seconds until the last trial settles, from how long the recent ones took; None before the first."""
        if not self._recent_seconds:
            return None
        typical = statistics.fmean(self._recent_seconds)
        active = [trial for trial in self._open.values() if trial.HasField("start_time")]
        under_way = sum(
            max(typical - (now - to_datetime(trial.start_time)).total_seconds(), 0.0) for trial in active
        )
        to_come = max(self.max_count - self.settled_count - len(active), 0) * typical
        return (under_way + to_come) / max(len(active), 1)


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def to_datetime(stamp: timestamp_pb2.Timestamp) -> datetime:
    """A proto's time in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def seconds_between(start: timestamp_pb2.Timestamp, end: timestamp_pb2.Timestamp) -> float:
    """Seconds from `start` to `end`."""
    return (to_datetime(end) - to_datetime(start)).total_seconds()
