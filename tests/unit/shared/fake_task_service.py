"""A TaskService in this process that honours the proto, and does on demand what a real one does rarely."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
from nas.v1 import task_service_pb2 as pb
from nas.v1 import task_service_pb2_grpc

from nas_shared.errors import InvalidArgument, LeaseLost
from nas_shared.rpc import Server, build_server, speaks_status


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until `condition` holds; fails the test when it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class FakeTaskService(task_service_pb2_grpc.TaskServiceServicer):
    """Hands out the tasks it is given, on leases of `lease_seconds`.

    Attributes:
      calls: every request that arrived, by method and in order, those refused below included.
      settled: what became of the tasks: ("complete" | "fail" | "release", request).
      stop: names of tasks whose holder is asked to stop.
      lost: names of tasks whose lease is gone.
      failures: status codes that a method's next calls are answered with, before they do anything.
      lose_answers: methods whose next call does its work and then says UNAVAILABLE.
      refuse_metrics: names of metrics that CompleteTask refuses as INVALID_ARGUMENT.
    """

    def __init__(self, lease_seconds: float = 30.0):
        self.lease_seconds = lease_seconds
        self.calls: list[tuple[str, Any]] = []
        self.call_times: list[tuple[str, float]] = []
        self.settled: list[tuple[str, Any]] = []
        self.stop: set[str] = set()
        self.lost: set[str] = set()
        self.failures: dict[str, deque[grpc.StatusCode]] = {}
        self.lose_answers: Counter[str] = Counter()
        self.refuse_metrics: set[str] = set()
        self.waiting = 0
        self._queue: deque[pb.Task] = deque()
        self._attempts: Counter[str] = Counter()
        self._claims: dict[str, pb.ClaimTaskResponse] = {}
        self._tokens: dict[str, str] = {}

    def add(self, number: int = 1) -> str:
        """Queues the training of trial `number`; returns the name of the task."""
        name = f"searchJobs/1/trials/{number}/tasks/train"
        self._queue.append(pb.Task(name=name, kind=pb.Task.TRAIN, train=pb.TrainWork(trial_number=number)))
        return name

    def requests(self, method: str) -> list[Any]:
        """The requests of one method, in order."""
        return [request for name, request in self.calls if name == method]

    @speaks_status
    async def ClaimTask(self, request: pb.ClaimTaskRequest, context: Any) -> pb.ClaimTaskResponse:
        await self._arrived("ClaimTask", request, context)
        deadline = time.monotonic() + request.wait.seconds
        self.waiting += 1
        try:
            while request.request_id not in self._claims and not self._queue:
                if time.monotonic() >= deadline:
                    return pb.ClaimTaskResponse()
                await asyncio.sleep(0.005)
        finally:
            self.waiting -= 1
        if request.request_id not in self._claims:
            task = self._queue.popleft()
            self._attempts[task.name] += 1
            task.attempt = self._attempts[task.name]
            self._tokens[task.name] = f"{task.name}#{task.attempt}"
            self._claims[request.request_id] = pb.ClaimTaskResponse(task=task, lease=self._lease(task.name))
        await self._lose_answer("ClaimTask", context)
        return self._claims[request.request_id]

    @speaks_status
    async def RenewLease(self, request: pb.RenewLeaseRequest, context: Any) -> pb.RenewLeaseResponse:
        await self._arrived("RenewLease", request, context)
        self._check_holder(request)
        return pb.RenewLeaseResponse(lease=self._lease(request.name), stop=request.name in self.stop)

    @speaks_status
    async def ReportMeasurement(
        self, request: pb.ReportMeasurementRequest, context: Any
    ) -> pb.ReportMeasurementResponse:
        await self._arrived("ReportMeasurement", request, context)
        self._check_holder(request)
        return pb.ReportMeasurementResponse(stop=request.name in self.stop)

    @speaks_status
    async def CompleteTask(self, request: pb.CompleteTaskRequest, context: Any) -> pb.CompleteTaskResponse:
        await self._settle("complete", "CompleteTask", request, context)
        return pb.CompleteTaskResponse()

    @speaks_status
    async def FailTask(self, request: pb.FailTaskRequest, context: Any) -> pb.FailTaskResponse:
        await self._settle("fail", "FailTask", request, context)
        return pb.FailTaskResponse()

    @speaks_status
    async def ReleaseTask(self, request: pb.ReleaseTaskRequest, context: Any) -> pb.ReleaseTaskResponse:
        await self._settle("release", "ReleaseTask", request, context)
        return pb.ReleaseTaskResponse()

    async def _settle(self, what: str, method: str, request: Any, context: Any) -> None:
        await self._arrived(method, request, context)
        if (what, request) not in self.settled:
            self._check_holder(request)
            if what == "complete" and (bad := self.refuse_metrics & set(request.measurement.metrics)):
                raise InvalidArgument(f"measurement.metrics: found {', '.join(bad)}; expected others")
            self.settled.append((what, request))
            del self._tokens[request.name]
        await self._lose_answer(method, context)

    async def _arrived(self, method: str, request: Any, context: Any) -> None:
        self.calls.append((method, request))
        self.call_times.append((method, time.monotonic()))
        if failures := self.failures.get(method):
            await context.abort(failures.popleft(), "on demand of the test")

    async def _lose_answer(self, method: str, context: Any) -> None:
        if self.lose_answers[method]:
            self.lose_answers[method] -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer got lost")

    def _check_holder(self, request: Any) -> None:
        if request.name in self.lost or self._tokens.get(request.name) != request.lease_token:
            raise LeaseLost(f"{request.name}: the token quoted does not hold it")

    def _lease(self, name: str) -> pb.Lease:
        lease = pb.Lease(token=self._tokens[name])
        lease.length.FromNanoseconds(int(self.lease_seconds * 1e9))
        return lease


class Serving:
    """A servicer on a real server on loopback, which can go away and come back on the same port."""

    def __init__(self, add: Callable[[grpc.aio.Server], None], names: list[str], token: str | None = None):
        self._add, self._names, self._token = add, names, token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = self._run(self._start())
        self.port = self._server.port

    async def _start(self) -> Server:
        server = build_server(f"127.0.0.1:{self.port}", self._names, token=self._token)
        self._add(server.grpc_server)
        await server.start()
        return server

    def stop(self) -> None:
        self._run(self._server.stop(0))

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)


def serve_tasks(service: FakeTaskService, token: str | None = None) -> Serving:
    """A server with `service` on it."""

    def add(server: grpc.aio.Server) -> None:
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(service, server)

    return Serving(add, ["nas.v1.TaskService"], token)
