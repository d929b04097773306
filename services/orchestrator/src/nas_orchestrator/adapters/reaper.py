"""Takes tasks back from workers that were lost."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from nas_orchestrator.adapters.transactor import Transactor
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases.tasks import expire_leases
from nas_shared.errors import Unavailable

log = logging.getLogger(__name__)


class Reaper:
    """Sleeps until the next lease runs out.

    A lease granted while it sleeps runs at least `lease_seconds`, so sleeping no longer than that it
    is never late. After a start it waits one whole lease: workers that are alive could not renew
    while the orchestrator was away.

    Args:
      transactor: runs the use case.
      proposals: where the next trial of a lost one comes from.
      lease_seconds: length of every lease.
      clock: seconds since the epoch.
    """

    def __init__(
        self, transactor: Transactor, proposals: Proposals, lease_seconds: float, clock: Callable[[], float]
    ):
        self._transactor = transactor
        self._proposals = proposals
        self._lease_seconds = lease_seconds
        self._clock = clock

    async def run(self) -> None:
        """Reaps until cancelled."""
        await self._sleep(self._lease_seconds)
        while True:
            expiry = None
            try:
                await self.reap()
                expiry = await self._transactor.read(lambda tx: tx.next_lease_expiry())
            except Unavailable as error:
                log.warning("leases: %s; trying again", error)
            except Exception:
                # Without a reaper the tasks of lost workers are lost, too.
                log.exception("leases: cannot be taken back; trying again")
            wait = self._lease_seconds if expiry is None else expiry - self._clock()
            await self._sleep(min(max(wait, 0.01), self._lease_seconds))

    async def _sleep(self, seconds: float) -> None:
        """Sleeps; one whole lease more when the machine slept, too, and no worker could renew."""
        while True:
            until = self._clock() + seconds
            await asyncio.sleep(seconds)
            late = self._clock() - until
            if late < self._lease_seconds / 2:
                return
            log.warning("leases: the clock jumped by %.0f s; workers get one more lease to renew", late)
            seconds = self._lease_seconds

    async def reap(self) -> int:
        """Takes back every task whose lease has run out; returns how many."""
        taken = 0
        while True:
            reap = partial(expire_leases, proposals=self._proposals, now=self._clock())
            count = await self._transactor.write(reap)
            taken += count
            if not count:
                break
        if taken:
            log.warning("leases: %d ran out", taken)
        return taken
