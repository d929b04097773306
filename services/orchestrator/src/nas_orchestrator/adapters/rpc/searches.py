"""SearchService: people describe a search, watch it, and end it."""

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

import grpc.aio
from google.protobuf import empty_pb2
from nas.v1 import resources_pb2, search_service_pb2_grpc
from nas.v1 import search_service_pb2 as pb

from nas_orchestrator.adapters.relay import Relay
from nas_orchestrator.adapters.rpc import convert
from nas_orchestrator.adapters.sql.store import SqlTransaction
from nas_orchestrator.adapters.transactor import Transactor
from nas_orchestrator.adapters.watches import Watches
from nas_orchestrator.domain.job import Job
from nas_orchestrator.domain.names import parse_job_name, parse_trial_name
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases import jobs
from nas_shared.errors import InvalidArgument
from nas_shared.rpc import speaks_status

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["SearchService"].full_name
_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE, _MAX_OFFSET = 50, 1000, 2**31
_MAX_SPEC_BYTES = 1 << 20

Item = TypeVar("Item")


class SearchServicer(search_service_pb2_grpc.SearchServiceServicer):
    """The people's side of the orchestrator.

    Args:
      transactor: runs the use cases.
      proposals: where trials come from.
      watches: who watches which job.
      relay: tells the watchers; a stream ends only when everything has been told.
      clock: seconds since the epoch.
    """

    def __init__(
        self,
        transactor: Transactor,
        proposals: Proposals,
        watches: Watches,
        relay: Relay,
        clock: Callable[[], float],
    ):
        self._transactor = transactor
        self._proposals = proposals
        self._watches = watches
        self._relay = relay
        self._clock = clock

    @speaks_status
    async def CreateSearchJob(
        self, request: pb.CreateSearchJobRequest, context: grpc.aio.ServicerContext
    ) -> resources_pb2.SearchJob:
        now = self._clock()
        if len(request.request_id) > 128:
            raise InvalidArgument(
                f"request_id: found {len(request.request_id)} characters; expected at most 128"
            )
        if (size := request.search_job.spec.ByteSize()) > _MAX_SPEC_BYTES:
            raise InvalidArgument(f"spec: found {size} bytes; expected at most {_MAX_SPEC_BYTES}")
        spec = convert.spec_from_proto(request.search_job.spec)
        job = await self._transactor.write(
            lambda tx: jobs.create_job(
                tx,
                self._proposals,
                display_name=request.search_job.display_name,
                spec=spec,
                request_id=request.request_id,
                new_id=lambda: _new_job_id(tx, now),
                now=now,
            )
        )
        return convert.job_to_proto(job)

    @speaks_status
    async def GetSearchJob(
        self, request: pb.GetSearchJobRequest, context: grpc.aio.ServicerContext
    ) -> resources_pb2.SearchJob:
        job_id = parse_job_name(request.name)
        return convert.job_to_proto(await self._transactor.read(lambda tx: tx.job(job_id)))

    @speaks_status
    async def ListSearchJobs(
        self, request: pb.ListSearchJobsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSearchJobsResponse:
        offset, size = _page(request.page_size, request.page_token)
        found = await self._transactor.read(lambda tx: tx.list_jobs(offset, size + 1))
        items, token = _cut(found, offset, size)
        return pb.ListSearchJobsResponse(search_jobs=map(convert.job_to_proto, items), next_page_token=token)

    @speaks_status
    async def CancelSearchJob(
        self, request: pb.CancelSearchJobRequest, context: grpc.aio.ServicerContext
    ) -> resources_pb2.SearchJob:
        job_id, now = parse_job_name(request.name), self._clock()
        job = await self._transactor.write(lambda tx: jobs.cancel_job(tx, self._proposals, job_id, now))
        return convert.job_to_proto(job)

    @speaks_status
    async def DeleteSearchJob(
        self, request: pb.DeleteSearchJobRequest, context: grpc.aio.ServicerContext
    ) -> empty_pb2.Empty:
        job_id = parse_job_name(request.name)
        await self._transactor.write(lambda tx: jobs.delete_job(tx, job_id))
        return empty_pb2.Empty()

    @speaks_status
    async def ResumeSearchJob(
        self, request: pb.ResumeSearchJobRequest, context: grpc.aio.ServicerContext
    ) -> resources_pb2.SearchJob:
        job_id, now = parse_job_name(request.name), self._clock()
        limits = convert.limits_from_proto(request.limits) if request.HasField("limits") else None
        job = await self._transactor.write(
            lambda tx: jobs.resume_job(tx, self._proposals, job_id, limits, request.root_output_dir, now)
        )
        return convert.job_to_proto(job)

    @speaks_status
    async def GetTrial(
        self, request: pb.GetTrialRequest, context: grpc.aio.ServicerContext
    ) -> resources_pb2.Trial:
        job_id, number = parse_trial_name(request.name)
        return convert.trial_to_proto(await self._transactor.read(lambda tx: tx.trial(job_id, number)))

    @speaks_status
    async def ListTrials(
        self, request: pb.ListTrialsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListTrialsResponse:
        job_id = parse_job_name(request.parent)
        offset, size = _page(request.page_size, request.page_token)
        best_first = request.order_by == pb.ListTrialsRequest.BEST_FIRST

        def query(tx: SqlTransaction) -> Sequence[resources_pb2.Trial]:
            tx.job(job_id)
            found = tx.list_trials(job_id, best_first=best_first, offset=offset, limit=size + 1)
            return [convert.trial_to_proto(trial) for trial in found]

        items, token = _cut(await self._transactor.read(query), offset, size)
        return pb.ListTrialsResponse(trials=items, next_page_token=token)

    @speaks_status
    async def WatchSearchJob(
        self, request: pb.WatchSearchJobRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.WatchSearchJobResponse]:
        job_id = parse_job_name(request.name)
        with self._watches.watch(job_id) as watch:
            job = await self._transactor.read(lambda tx: tx.job(job_id))
            if job.has_ended:
                await self._relay.caught_up()
            yield pb.WatchSearchJobResponse(search_job=convert.job_to_proto(job))
            while not job.has_ended:
                changed = await watch.changes()
                job, answers = await self._transactor.read(partial(_answers, job_id=job_id, changed=changed))
                if job.has_ended:
                    # The read was ahead of the outbox: trials that settled last are still to be told.
                    await self._relay.caught_up()
                    changed = list(dict.fromkeys([*changed, *watch.take()]))
                    job, answers = await self._transactor.read(
                        partial(_answers, job_id=job_id, changed=changed)
                    )
                for answer in answers:
                    yield answer


def _answers(
    tx: SqlTransaction, job_id: int, changed: Sequence[int]
) -> tuple[Job, list[pb.WatchSearchJobResponse]]:
    job = tx.job(job_id)
    message = convert.job_to_proto(job)
    answers = [
        pb.WatchSearchJobResponse(search_job=message, trial=convert.trial_to_proto(tx.trial(job_id, number)))
        for number in changed
    ]
    return job, answers or [pb.WatchSearchJobResponse(search_job=message)]


def _new_job_id(tx: SqlTransaction, now: float) -> int:
    """A numeric id that grows with time; jobs of one microsecond take the next free one."""
    newest = tx.list_jobs(0, 1)
    proposed = round(now * 1e6)
    return max(proposed, newest[0].id + 1) if newest else proposed


def _page(page_size: int, page_token: str) -> tuple[int, int]:
    """Offset and size of the page that a request asks for."""
    if page_size < 0:
        raise InvalidArgument(f"page_size: found {page_size}; expected 0 or more")
    size = min(page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
    if not page_token:
        return 0, size
    try:
        name, _, offset = base64.urlsafe_b64decode(page_token.encode()).partition(b"=")
        if name == b"offset" and 0 <= int(offset) < _MAX_OFFSET:
            return int(offset), size
    except (ValueError, binascii.Error):
        pass
    raise InvalidArgument(f"page_token: found {page_token!r}; expected a next_page_token")


def _cut(found: Sequence[Item], offset: int, size: int) -> tuple[Sequence[Item], str]:
    """A page and the token of the next one, from one item more than the page holds."""
    if len(found) <= size:
        return found, ""
    return found[:size], base64.urlsafe_b64encode(b"offset=%d" % (offset + size)).decode()
