"""The outbox relay: what was committed is told to the world, at least once and in order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from nas_orchestrator.adapters.sql.rows import event_from_row
from nas_orchestrator.adapters.sql.store import SqlTransaction
from nas_orchestrator.adapters.transactor import Transactor
from nas_orchestrator.domain.events import Event
from nas_shared.errors import Unavailable

log = logging.getLogger(__name__)

Listener = Callable[[Sequence[Event]], Awaitable[None]]

_BATCH = 500
# Commits of one burst are told in one batch: reading and deleting cost the writer a transaction.
_GATHER_SECONDS = 0.05
_RETRY_SECONDS = 1.0


class Relay:
    """Reads the outbox whenever a transaction has put something in, and tells the listeners.

    A batch is deleted once every listener has returned; after a crash it is told again.

    Args:
      transactor: runs the reads and deletes.
      listeners: told one after the other, each batch in the order of its commits. When one raises, all
        are told the same batch again a second later.
    """

    def __init__(self, transactor: Transactor, listeners: Sequence[Listener]):
        self._transactor = transactor
        self._listeners = listeners
        # Set at birth: an earlier process may have left something.
        self._news = asyncio.Event()
        self._news.set()
        self._ending = False
        self._noticed = 1
        self._told = asyncio.Condition()
        self._told_up_to = 0

    def notify(self) -> None:
        """Something was committed."""
        self._noticed += 1
        self._news.set()

    async def caught_up(self) -> None:
        """Returns once everything a reader has seen in the store has been told."""
        # A reader may see a commit before the loop hears of it: the round that counts starts after this.
        self.notify()
        noticed = self._noticed
        async with self._told:
            await self._told.wait_for(lambda: self._told_up_to >= noticed)

    async def run(self) -> None:
        """Relays until `end`, then what is left."""
        while not self._ending:
            await self._news.wait()
            if not self._ending:
                await asyncio.sleep(_GATHER_SECONDS)
            self._news.clear()
            noticed = self._noticed
            try:
                await self.drain()
            except Exception as error:
                # Whatever it is, the outbox keeps the events, and the next round may tell them.
                if isinstance(error, Unavailable):
                    log.warning("outbox: %s; trying again", error)
                else:
                    log.exception("outbox: cannot be told; trying again")
                if not self._ending:
                    self._news.set()
                    await asyncio.sleep(_RETRY_SECONDS)
            else:
                async with self._told:
                    self._told_up_to = noticed
                    self._told.notify_all()

    def end(self) -> None:
        """Lets `run` return once the outbox is empty; what cannot be told stays for the next start."""
        self._ending = True
        self._news.set()

    async def drain(self) -> None:
        """Tells everything that is in the outbox."""
        while rows := await self._transactor.read(_read):
            batch = [event_from_row(row) for row in rows]
            for listener in self._listeners:
                await listener(batch)
            await self._transactor.write(partial(_delete, last=rows[-1].id))


def _read(tx: SqlTransaction) -> Sequence[Any]:
    return tx.read_outbox(_BATCH)


def _delete(tx: SqlTransaction, last: int) -> None:
    tx.delete_outbox(last)
