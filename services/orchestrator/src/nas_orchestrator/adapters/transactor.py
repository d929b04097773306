"""Runs use cases, one transaction each, away from the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from nas_orchestrator.adapters.sql.store import SqlStore, SqlTransaction
from nas_orchestrator.domain.events import Event
from nas_orchestrator.usecases.store import Conflict
from nas_shared.errors import Unavailable

Answer = TypeVar("Answer")

_TRIES = 5


class Transactor:
    """Runs use cases on the store and says what they did once it is stored.

    SQLite has one writer at a time, so writes queue up for one thread instead of for its lock; reads
    have threads of their own and see the last commit.

    Args:
      store: the database.
      on_commit: called on the event loop with the events of a transaction, after its commit.
      read_threads: reads at once.
    """

    def __init__(self, store: SqlStore, on_commit: Callable[[Sequence[Event]], None], read_threads: int = 2):
        self._store = store
        self._on_commit = on_commit
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=read_threads, thread_name_prefix="store-read")

    async def write(self, use_case: Callable[[SqlTransaction], Answer]) -> Answer:
        """Runs a use case in a transaction; again, when somebody else changed the same rows first.

        Raises:
          Unavailable: if the database is locked, full, or gone.
        """
        loop = asyncio.get_running_loop()
        answer, events = await loop.run_in_executor(self._writer, self._run, use_case)
        if events:
            self._on_commit(events)
        return answer

    async def read(self, query: Callable[[SqlTransaction], Answer]) -> Answer:
        """Runs a query on one state of the database."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._query, query)

    def close(self) -> None:
        """Waits for what is running."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)

    def _run(self, use_case: Callable[[SqlTransaction], Answer]) -> tuple[Answer, list[Event]]:
        for left in reversed(range(_TRIES)):
            try:
                with self._store.write() as transaction:
                    answer = use_case(transaction)
                return answer, transaction.events
            except (Conflict, sa.exc.IntegrityError) as error:
                if not left:
                    raise Unavailable(f"the store is contended: {error}") from error
            except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
                raise Unavailable(f"the store does not answer: {error}") from error
        raise AssertionError("unreachable")

    def _query(self, query: Callable[[SqlTransaction], Answer]) -> Answer:
        try:
            with self._store.read() as transaction:
                return query(transaction)
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise Unavailable(f"the store does not answer: {error}") from error
