"""Runs use cases on the store, and says what they did once it is stored."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from nas_orchestrator.adapters.sql.store import SqlStore, SqlTransaction
from nas_orchestrator.domain.events import Event
from nas_orchestrator.usecases.store import Conflict
from nas_shared.errors import Unavailable

Answer = TypeVar("Answer")
UseCase = Callable[[SqlTransaction], Answer]

_TRIES = 5
_MAX_BATCH = 64
_LOCK_PATIENCE_SECONDS = 10.0


class _Waiting(NamedTuple):
    use_case: UseCase[Any]
    answer: "asyncio.Future[Any]"


class Transactor:
    """Runs use cases on the store and says what they did once it is stored.

    SQLite has one writer at a time, and a commit that survives a power cut waits for the disk. So
    writes queue up, and those that came while the last commit ran share the next one: each of them
    sees what the ones before it did, none is answered before the commit, and when one of them fails
    the batch is rolled back and every use case runs again in a transaction of its own.

    Args:
      store: the database.
      on_commit: called on the event loop with the events of a transaction, after its commit.
      read_threads: reads at once.
    """

    def __init__(self, store: SqlStore, on_commit: Callable[[Sequence[Event]], None], read_threads: int = 2):
        self._store = store
        self._on_commit = on_commit
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None
        self._committer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-commit")
        self._readers = ThreadPoolExecutor(max_workers=read_threads, thread_name_prefix="store-read")

    async def write(self, use_case: UseCase[Answer]) -> Answer:
        """Runs a use case in a transaction; again, when somebody else changed the same rows first.

        Raises:
          Unavailable: if the database is locked, full, or gone.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Waiting(use_case, answer))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        return await answer

    async def read(self, query: UseCase[Answer]) -> Answer:
        """Runs a query on one state of the database."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._query, query)

    def close(self) -> None:
        """Waits for what is running."""
        self._committer.shutdown(wait=True)
        self._readers.shutdown(wait=True)

    async def _flush(self) -> None:
        try:
            await self._flush_all()
        finally:
            self._flushing = None

    async def _flush_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            try:
                answers, events = await self._run_batch([waiting.use_case for waiting in batch])
            except Unavailable as error:
                # Nothing has begun, and those that came in the meantime have waited, too.
                batch, self._waiting = batch + self._waiting, []
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(Unavailable(str(error)))
            except Exception:
                for waiting in batch:
                    self._run_alone(waiting)
            else:
                self._publish(batch, answers, events)

    async def _run_batch(self, use_cases: Sequence[UseCase[Any]]) -> tuple[list[Any], list[Event]]:
        """Runs use cases in one transaction, whose commit waits for the disk on a thread of its own.

        Raises:
          Unavailable: if no transaction can begin; whatever fails later is raised as it is.
        """
        transaction = await self._begin()
        try:
            answers = [use_case(transaction) for use_case in use_cases]
            transaction.write_outbox()
        except BaseException:
            transaction.rollback()
            raise
        await asyncio.get_running_loop().run_in_executor(self._committer, transaction.commit)
        return answers, transaction.events

    async def _begin(self) -> SqlTransaction:
        """A transaction, once whoever else has locked the database lets go; the loop runs on meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LOCK_PATIENCE_SECONDS
        while True:
            try:
                return self._store.begin()
            except sa.exc.OperationalError as error:
                if loop.time() >= deadline:
                    raise Unavailable(f"the store does not answer: {error.orig}") from error
            await asyncio.sleep(0.02)

    def _run(self, use_cases: Sequence[UseCase[Any]]) -> tuple[list[Any], list[Event]]:
        with self._store.write() as transaction:
            answers = [use_case(transaction) for use_case in use_cases]
        return answers, transaction.events

    def _publish(self, batch: Sequence[_Waiting], answers: Sequence[Any], events: Sequence[Event]) -> None:
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        if events:
            self._on_commit(events)

    def _run_alone(self, waiting: _Waiting) -> None:
        try:
            answers, events = self._run_until_uncontended(waiting.use_case)
        except Exception as error:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        else:
            self._publish([waiting], answers, events)

    def _run_until_uncontended(self, use_case: UseCase[Any]) -> tuple[list[Any], list[Event]]:
        for left in reversed(range(_TRIES)):
            try:
                return self._run([use_case])
            except (Conflict, sa.exc.IntegrityError) as error:
                if not left:
                    raise Unavailable(f"the store is contended: {error}") from error
            except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
                raise Unavailable(f"the store does not answer: {error}") from error
        raise AssertionError("unreachable")

    def _query(self, query: UseCase[Answer]) -> Answer:
        try:
            with self._store.read() as transaction:
                return query(transaction)
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise Unavailable(f"the store does not answer: {error}") from error
