"""Reads a job's watch stream on a thread, so that the terminal stays alive while nothing happens."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from nas.v1 import resources_pb2

from nas_client.client import SearchClient, trial_number
from nas_shared.cli import CommandError

# The stream carries transitions; the measurements in between are asked for, of a few trials, now and then.
_MEASUREMENT_SECONDS = 2.0
_MEASURED_AT_MOST = 8


@dataclass(frozen=True)
class Update:
    """A newer state of the job, where it is known, and of some of its trials."""

    job: resources_pb2.SearchJob | None
    trials: Sequence[resources_pb2.Trial]


class Watcher:
    """Updates of one job, from threads that work as long as the block.

    Args:
      measurements: also fetch the latest measurements of the trials told to `measure`.
    """

    def __init__(self, client: SearchClient, job: str, *, measurements: bool):
        self._client = client
        self._job = job
        self._updates: queue.SimpleQueue[Update | CommandError | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._measured: Sequence[int] = ()
        self._ended = False
        targets = [self._watch, *([self._fetch_measurements] if measurements else [])]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The threads end with the client's channel at the latest; nobody waits for them.
        self._closed.set()

    @property
    def ended(self) -> bool:
        """Whether the job has ended and `updates` has returned everything."""
        return self._ended

    def measure(self, trials: Sequence[resources_pb2.Trial]) -> None:
        """Names the trials whose latest measurements are wanted from now on."""
        self._measured = [trial_number(trial) for trial in trials[:_MEASURED_AT_MOST]]

    def updates(self, wait_seconds: float) -> list[Update]:
        """What came since the last call; waits up to `wait_seconds` for the first.

        Raises:
          CommandError: when the stream cannot go on.
        """
        found: list[Update] = []
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                if found:
                    update = self._updates.get_nowait()
                else:
                    update = self._updates.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                return found
            if isinstance(update, CommandError):
                raise update
            if update is None:
                self._ended = True
                return found
            found.append(update)

    def _watch(self) -> None:
        try:
            for message in self._client.watch(self._job):
                if self._closed.is_set():
                    return
                if message.HasField("trial"):
                    trials = [message.trial]
                else:
                    trials = list(self._client.trials(self._job))
                self._updates.put(Update(message.search_job, trials))
            self._updates.put(None)
        except CommandError as error:
            self._updates.put(error)
        except ValueError:
            # The channel was closed between two calls: the block has been left.
            if not self._closed.is_set():
                raise

    def _fetch_measurements(self) -> None:
        while not self._closed.wait(_MEASUREMENT_SECONDS):
            try:
                trials = [self._client.trial(self._job, number) for number in self._measured]
            except (CommandError, ValueError):
                # Nothing but the display depends on it: the next round may find the orchestrator again.
                continue
            self._updates.put(Update(None, trials))
