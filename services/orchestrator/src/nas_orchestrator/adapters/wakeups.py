"""Long polls: claims that wait for a task, woken by the commit that makes one ready."""

import asyncio
from collections import defaultdict, deque

from nas_orchestrator.domain.task import TaskKind

Queue = tuple[TaskKind, str]


class Wakeups:
    """Waiting claims by queue, first come, first served. Lives on the event loop.

    A wake-up is a hint, never a promise: the woken claim asks the store. None is lost between asking
    and waiting, because a claim remembers `count` from before it asked and waits only while it stands.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[Queue, deque[asyncio.Future[None]]] = defaultdict(deque)
        self._counts: defaultdict[Queue, int] = defaultdict(int)

    def count(self, queue: Queue) -> int:
        """How many tasks have become ready so far."""
        return self._counts[queue]

    def wake(self, queue: Queue) -> None:
        """A task is ready: wakes the claim that waits longest."""
        self._counts[queue] += 1
        self._wake_next(queue)

    async def wait(self, queue: Queue, count: int, timeout: float) -> None:
        """Returns when a task may be ready, at the latest after `timeout` seconds."""
        if self._counts[queue] != count:
            return
        waiting = self._waiting[queue]
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            async with asyncio.timeout(timeout):
                await place
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            # The caller hung up; a wake-up that had reached it goes to the next in the queue.
            if place.done() and not place.cancelled():
                self._wake_next(queue)
            raise
        finally:
            if place in waiting:
                waiting.remove(place)

    def wake_all(self) -> None:
        """Wakes every claim, so that the server can end."""
        for queue in list(self._waiting):
            self._counts[queue] += 1
            while self._waiting[queue]:
                self._wake_next(queue)

    def _wake_next(self, queue: Queue) -> None:
        waiting = self._waiting[queue]
        while waiting:
            place = waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
