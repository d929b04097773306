"""The orchestrator put together: store, proposals, services, and what runs beside them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from nas.v1 import search_service_pb2_grpc, task_service_pb2_grpc

from nas_orchestrator.adapters.reaper import Reaper
from nas_orchestrator.adapters.relay import Relay
from nas_orchestrator.adapters.rpc.searches import SERVICE_NAME as SEARCH_SERVICE
from nas_orchestrator.adapters.rpc.searches import SearchServicer
from nas_orchestrator.adapters.rpc.tasks import SERVICE_NAME as TASK_SERVICE
from nas_orchestrator.adapters.rpc.tasks import TaskServicer
from nas_orchestrator.adapters.scribe import Scribe
from nas_orchestrator.adapters.sql.engine import open_database
from nas_orchestrator.adapters.sql.store import SqlStore
from nas_orchestrator.adapters.transactor import Transactor
from nas_orchestrator.adapters.wakeups import Wakeups
from nas_orchestrator.adapters.watches import Watches
from nas_orchestrator.domain.events import Event, TaskReady, TrialChanged
from nas_orchestrator.domain.trial import OPEN_STATES
from nas_orchestrator.search.proposals import Proposals
from nas_shared.rpc import build_server
from nas_shared.search_spaces import SearchSpaceError

log = logging.getLogger(__name__)


class App:
    """One orchestrator.

    Args:
      listen: `host:port`; port 0 takes a free one, see `port`.
      database: URL of the store.
      lease_seconds: length of every lease.
      token: bearer token asked of every caller; needed off loopback.
      clock: seconds since the epoch.
    Raises:
      InvalidArgument, Unavailable: the database cannot be opened.
      ListenError: the address cannot be listened on.
    """

    def __init__(
        self,
        *,
        listen: str,
        database: str,
        lease_seconds: float = 60.0,
        token: str | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._server = build_server(listen, [SEARCH_SERVICE, TASK_SERVICE], token=token)
        self._store = SqlStore(open_database(database))
        self._transactor = Transactor(self._store, self._on_commit)
        self.proposals = Proposals(self._store.history)
        self._wakeups = Wakeups()
        watches = Watches()
        self._relay = Relay(self._transactor, [Scribe(self._transactor), watches])
        self.reaper = Reaper(self._transactor, self.proposals, lease_seconds, clock)
        self._tasks = TaskServicer(self._transactor, self.proposals, self._wakeups, lease_seconds, clock)
        searches = SearchServicer(self._transactor, self.proposals, watches, self._relay, clock)
        search_service_pb2_grpc.add_SearchServiceServicer_to_server(searches, self._server.grpc_server)
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(self._tasks, self._server.grpc_server)
        self._running: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Serves, and goes on with whatever an earlier process left."""
        self._running = [asyncio.create_task(self._relay.run()), asyncio.create_task(self.reaper.run())]
        for job in await self._transactor.read(lambda tx: tx.running_jobs()):
            try:
                self.proposals.prepare(job)
            except SearchSpaceError as error:
                # One job cannot go on; the others can.
                log.error("%s: %s; it fails with its next proposal", job.name, error)
        await self._server.start()

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Answers what is under way, tells what was committed, and closes the store."""
        self._tasks.end()
        await self._server.stop(grace_seconds)
        await self._tasks.finish()
        self._relay.end()
        relay, reaper = self._running
        reaper.cancel()
        await asyncio.gather(relay, reaper, return_exceptions=True)
        self.proposals.close()
        self._transactor.close()
        self._store.close()

    def _on_commit(self, events: Sequence[Event]) -> None:
        settled = set()
        for event in events:
            if isinstance(event, TaskReady):
                self._wakeups.wake((event.kind, event.device_type))
            elif isinstance(event, TrialChanged) and event.state not in OPEN_STATES:
                settled.add(event.job_id)
        for job_id in settled:
            self.proposals.prepare_next(job_id)
        self._relay.notify()


async def serve(app: App, until: asyncio.Event, on_serving: Callable[[], None]) -> None:
    """Serves until the event is set, then stops in good order; `on_serving` is called in between."""
    await app.start()
    on_serving()
    with contextlib.suppress(asyncio.CancelledError):
        await until.wait()
    await app.stop()
