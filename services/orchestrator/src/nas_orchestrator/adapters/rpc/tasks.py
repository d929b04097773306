"""TaskService: workers claim, renew, report and settle."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable

import grpc.aio
from nas.v1 import resources_pb2, task_service_pb2_grpc
from nas.v1 import task_service_pb2 as pb

from nas_orchestrator.adapters.rpc import convert
from nas_orchestrator.adapters.transactor import Transactor
from nas_orchestrator.adapters.wakeups import Wakeups
from nas_orchestrator.domain.names import parse_task_name
from nas_orchestrator.domain.task import TaskKind
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.usecases import tasks
from nas_orchestrator.usecases.store import ClaimedTask
from nas_orchestrator.usecases.tasks import TaskKey
from nas_shared.errors import DomainError, InvalidArgument
from nas_shared.rpc import speaks_status

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TaskService"].full_name
_MAX_WAIT_SECONDS = 60.0


class TaskServicer(task_service_pb2_grpc.TaskServiceServicer):
    """The workers' side of the orchestrator.

    Args:
      transactor: runs the use cases.
      proposals: where the trial that follows a settled one comes from.
      wakeups: where claims wait.
      lease_seconds: length of every lease.
      clock: seconds since the epoch.
    """

    def __init__(
        self,
        transactor: Transactor,
        proposals: Proposals,
        wakeups: Wakeups,
        lease_seconds: float,
        clock: Callable[[], float],
    ):
        self._transactor = transactor
        self._proposals = proposals
        self._wakeups = wakeups
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._ending = False
        self._background: set[asyncio.Task[None]] = set()
        # Claims that are being stored, by worker and request id.
        self._claiming: Counter[tuple[str, str]] = Counter()

    def end(self) -> None:
        """Answers the claims that wait, and lets none wait any more."""
        self._ending = True
        self._wakeups.wake_all()

    async def finish(self) -> None:
        """Gives back what was leased to callers that hung up; to be called when the server has stopped."""
        await asyncio.gather(*self._background, return_exceptions=True)

    @speaks_status
    async def ClaimTask(
        self, request: pb.ClaimTaskRequest, context: grpc.aio.ServicerContext
    ) -> pb.ClaimTaskResponse:
        if not request.worker_id or len(request.worker_id) > 128:
            raise InvalidArgument(f"worker_id: found {request.worker_id!r}; expected 1-128 characters")
        if len(request.request_id) > 128:
            raise InvalidArgument(
                f"request_id: found {len(request.request_id)} characters; expected at most 128"
            )
        if len(request.device_type) > 64:
            raise InvalidArgument(
                f"device_type: found {len(request.device_type)} characters; expected at most 64"
            )
        queue = (_kind(request.kind), request.device_type)
        if request.kind == pb.Task.MEASURE and not request.device_type:
            raise InvalidArgument(
                "device_type: found nothing; expected the device type that is measured, e.g. CPU"
            )
        key = _key(request.task) if request.task else None
        loop = asyncio.get_running_loop()
        wait = 0.0 if key else min(convert.seconds_of(request.wait, "wait"), _MAX_WAIT_SECONDS)
        deadline = loop.time() + wait
        while True:
            count = self._wakeups.count(queue)
            claimed = await self._claim(request, queue, key)
            if claimed is not None:
                return convert.claim_to_proto(claimed, self._lease_seconds)
            left = deadline - loop.time()
            if left <= 0 or self._ending:
                return pb.ClaimTaskResponse()
            await self._wakeups.wait(queue, count, left)

    @speaks_status
    async def RenewLease(
        self, request: pb.RenewLeaseRequest, context: grpc.aio.ServicerContext
    ) -> pb.RenewLeaseResponse:
        key, expiry = _key(request.name), self._clock() + self._lease_seconds
        task = await self._transactor.write(
            lambda tx: tasks.renew_lease(tx, key, request.lease_token, expiry)
        )
        lease = convert.lease_to_proto(task, self._lease_seconds)
        return pb.RenewLeaseResponse(lease=lease, stop=task.stop_requested)

    @speaks_status
    async def ReportMeasurement(
        self, request: pb.ReportMeasurementRequest, context: grpc.aio.ServicerContext
    ) -> pb.ReportMeasurementResponse:
        key, measurement = _key(request.name), request.measurement
        metrics = convert.metrics_from_proto(measurement)
        stop = await self._transactor.write(
            lambda tx: tasks.report_measurement(
                tx, key, request.lease_token, measurement.step, metrics, request.saved_model_dir
            )
        )
        return pb.ReportMeasurementResponse(stop=stop)

    @speaks_status
    async def CompleteTask(
        self, request: pb.CompleteTaskRequest, context: grpc.aio.ServicerContext
    ) -> pb.CompleteTaskResponse:
        key, metrics = _key(request.name), convert.metrics_from_proto(request.measurement)
        now = self._clock()
        trial = await self._transactor.write(
            lambda tx: tasks.complete_task(tx, self._proposals, key, request.lease_token, metrics, now)
        )
        return pb.CompleteTaskResponse(trial=convert.trial_to_proto(trial))

    @speaks_status
    async def FailTask(
        self, request: pb.FailTaskRequest, context: grpc.aio.ServicerContext
    ) -> pb.FailTaskResponse:
        key, now = _key(request.name), self._clock()
        if not request.reason or request.reason not in resources_pb2.FailureReason.values():
            raise InvalidArgument(f"reason: found {request.reason}; expected a value of FailureReason")
        reason = resources_pb2.FailureReason.Name(request.reason)
        trial = await self._transactor.write(
            lambda tx: tasks.fail_task(
                tx,
                self._proposals,
                key,
                request.lease_token,
                reason=reason,
                message=convert.clipped(request.message or reason),
                retryable=request.retryable,
                infeasible=request.infeasible,
                now=now,
            )
        )
        return pb.FailTaskResponse(trial=convert.trial_to_proto(trial))

    @speaks_status
    async def ReleaseTask(
        self, request: pb.ReleaseTaskRequest, context: grpc.aio.ServicerContext
    ) -> pb.ReleaseTaskResponse:
        await self._release(_key(request.name), request.lease_token)
        return pb.ReleaseTaskResponse()

    async def _claim(
        self, request: pb.ClaimTaskRequest, queue: tuple[TaskKind, str], key: TaskKey | None
    ) -> ClaimedTask | None:
        token, now = secrets.token_hex(16), self._clock()
        caller = (request.worker_id, request.request_id)
        claim = asyncio.ensure_future(
            self._transactor.write(
                lambda tx: tasks.claim_task(
                    tx,
                    self._proposals,
                    worker=request.worker_id,
                    claim_id=request.request_id,
                    kind=queue[0],
                    device_type=queue[1],
                    key=key,
                    token=token,
                    expiry=now + self._lease_seconds,
                    now=now,
                )
            )
        )
        self._claiming[caller] += 1
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            # The worker hung up while its claim was being stored: nobody would ever renew that lease.
            give_back = asyncio.create_task(self._give_back(claim, caller))
            self._background.add(give_back)
            give_back.add_done_callback(self._background.discard)
            raise
        finally:
            self._claiming[caller] -= 1
            if not self._claiming[caller]:
                del self._claiming[caller]

    async def _give_back(self, claim: "asyncio.Future[ClaimedTask | None]", caller: tuple[str, str]) -> None:
        try:
            claimed = await claim
            # A caller that has come back with the same claim gets the same lease, and keeps it.
            if claimed is not None and caller not in self._claiming:
                task = claimed.task
                await self._release((task.job_id, task.trial_number, task.kind), task.lease_token)
        except DomainError:
            # The lease runs out by itself.
            pass

    async def _release(self, key: TaskKey, token: str) -> None:
        now = self._clock()
        await self._transactor.write(lambda tx: tasks.release_task(tx, self._proposals, key, token, now))


def _kind(kind: "pb.Task.Kind") -> TaskKind:
    if kind not in (pb.Task.TRAIN, pb.Task.MEASURE):
        raise InvalidArgument(f"kind: found {kind}; expected TRAIN or MEASURE")
    return TaskKind(pb.Task.Kind.Name(kind))


def _key(name: str) -> TaskKey:
    job_id, trial_number, task_id = parse_task_name(name)
    return job_id, trial_number, TaskKind(task_id.upper())
