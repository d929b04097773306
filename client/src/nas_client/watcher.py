"""Reads a job's watch stream on a thread, so that the terminal stays alive while nothing happens."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from nas.v1 import resources_pb2

from nas_client.client import SearchClient
from nas_shared.cli import CommandError


@dataclass(frozen=True)
class Update:
    """A newer state of the job and of some of its trials."""

    job: resources_pb2.SearchJob
    trials: Sequence[resources_pb2.Trial]


class Watcher:
    """Updates of one job, from a thread that works as long as the block."""

    def __init__(self, client: SearchClient, job: str):
        self._client = client
        self._job = job
        self._updates: queue.SimpleQueue[Update | CommandError | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread ends with the client's channel at the latest; nobody waits for it.
        self._closed.set()

    @property
    def ended(self) -> bool:
        """Whether the job has ended and `updates` has returned everything."""
        return self._ended

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
