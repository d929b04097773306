"""Streams of people who watch a job."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nas_orchestrator.domain.events import Event, JobChanged, TrialChanged


class Watch:
    """What has changed in one job since its watcher last looked; a burst becomes one look."""

    def __init__(self) -> None:
        self._trials: dict[int, None] = {}
        self._changed = asyncio.Event()

    def add(self, trial_number: int | None) -> None:
        """The job has changed, and with it a trial or none."""
        if trial_number is not None:
            self._trials[trial_number] = None
        self._changed.set()

    async def changes(self) -> list[int]:
        """Waits for a change; returns the trials it touched, in order, without repeats."""
        await self._changed.wait()
        return self.take()

    def take(self) -> list[int]:
        """The trials touched since the last look, without waiting."""
        self._changed.clear()
        trials, self._trials = list(self._trials), {}
        return trials


class Watches:
    """Watchers by job; a listener of the outbox."""

    def __init__(self) -> None:
        self._by_job: defaultdict[int, set[Watch]] = defaultdict(set)

    async def __call__(self, batch: Sequence[Event]) -> None:
        """Tells the watchers of every job in `batch`."""
        for event in batch:
            if event.job_id in self._by_job:
                match event:
                    case TrialChanged():
                        self._tell(event.job_id, event.trial_number)
                    case JobChanged():
                        self._tell(event.job_id, None)

    @contextmanager
    def watch(self, job_id: int) -> Iterator[Watch]:
        """A watch of the job, for as long as the block runs."""
        watch = Watch()
        self._by_job[job_id].add(watch)
        try:
            yield watch
        finally:
            self._by_job[job_id].discard(watch)
            if not self._by_job[job_id]:
                del self._by_job[job_id]

    def _tell(self, job_id: int, trial_number: int | None) -> None:
        for watch in self._by_job[job_id]:
            watch.add(trial_number)
