"""An orchestrator that really serves: SQLite on disk, gRPC on loopback, and a clock that tests step."""

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import duration_pb2
from nas.v1 import (
    resources_pb2,
    search_service_pb2,
    search_service_pb2_grpc,
    task_service_pb2,
    task_service_pb2_grpc,
)

from nas_orchestrator.app import App
from nas_shared.rpc import connect

LEASE_SECONDS = 60.0


class LiveOrchestrator:
    """An orchestrator on a thread of its own, and stubs that talk to it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.now = 1_800_000_000.25
        self._request_ids = itertools.count()
        self.start()

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._start())
        self.channel = connect(f"127.0.0.1:{self.app.port}")
        self.search = search_service_pb2_grpc.SearchServiceStub(self.channel)
        self.tasks = task_service_pb2_grpc.TaskServiceStub(self.channel)

    async def _start(self) -> None:
        database = f"sqlite:///{self.directory}/nas.db"
        self.app = App(
            listen="127.0.0.1:0", database=database, lease_seconds=LEASE_SECONDS, clock=lambda: self.now
        )
        await self.app.start()

    def stop(self) -> None:
        self.channel.close()
        self.run(self.app.stop(grace_seconds=0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def restart(self) -> None:
        self.stop()
        self.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def reap(self) -> int:
        """Takes back the leases that have run out by the stepped clock."""
        return self.run(self.app.reaper.reap())

    # The calls of a person

    def spec(self, **overrides: Any) -> resources_pb2.SearchJobSpec:
        limits = resources_pb2.Limits(
            max_trial_count=overrides.pop("trials", 4), max_parallel_trial_count=overrides.pop("parallel", 2)
        )
        limits.max_failed_trial_count = overrides.pop("max_failed", 0)
        algorithm = resources_pb2.Algorithm(
            kind=overrides.pop("algorithm", "RANDOM"), seed=overrides.pop("seed", 7)
        )
        algorithm.population_size = overrides.pop("population_size", 0)
        reward = overrides.pop("reward", resources_pb2.RewardSpec(metric="accuracy"))
        measure = resources_pb2.MeasureSpec(device_type="CPU") if overrides.pop("measured", False) else None
        return resources_pb2.SearchJobSpec(
            search_space=overrides.pop("search_space", "mnasnet"),
            algorithm=algorithm,
            reward=reward,
            limits=limits,
            measure=measure,
            root_output_dir=overrides.pop("root_output_dir", str(self.directory / "out")),
            **overrides,
        )

    def create(self, name: str = "digits", request_id: str = "", **overrides: Any) -> resources_pb2.SearchJob:
        job = resources_pb2.SearchJob(display_name=name, spec=self.spec(**overrides))
        return self.search.CreateSearchJob(
            search_service_pb2.CreateSearchJobRequest(search_job=job, request_id=request_id)
        )

    def job(self, name: str) -> resources_pb2.SearchJob:
        return self.search.GetSearchJob(search_service_pb2.GetSearchJobRequest(name=name))

    def trial(self, name: str) -> resources_pb2.Trial:
        return self.search.GetTrial(search_service_pb2.GetTrialRequest(name=name))

    def trials(self, job: str, **kwargs: Any) -> list[resources_pb2.Trial]:
        request = search_service_pb2.ListTrialsRequest(parent=job, page_size=1000, **kwargs)
        return list(self.search.ListTrials(request).trials)

    def cancel(self, job: str) -> resources_pb2.SearchJob:
        return self.search.CancelSearchJob(search_service_pb2.CancelSearchJobRequest(name=job))

    def wait_until_told(self, job: str) -> list[search_service_pb2.WatchSearchJobResponse]:
        """Watches until the job has ended and all its files are published; what the watcher saw."""
        return list(
            self.search.WatchSearchJob(search_service_pb2.WatchSearchJobRequest(name=job), timeout=30)
        )

    # The calls of a worker

    def claim(
        self,
        worker: str = "worker-1",
        kind: str = "TRAIN",
        wait: float = 0,
        request_id: str | None = None,
        **kwargs: Any,
    ) -> task_service_pb2.ClaimTaskResponse:
        request = task_service_pb2.ClaimTaskRequest(
            worker_id=worker,
            kind=kind,
            request_id=f"claim-{next(self._request_ids)}" if request_id is None else request_id,
            device_type=kwargs.pop("device_type", "CPU" if kind == "MEASURE" else ""),
            wait=duration_pb2.Duration(seconds=int(wait), nanos=int(wait % 1 * 1e9)),
            **kwargs,
        )
        return self.tasks.ClaimTask(request, timeout=70)

    def complete(self, claim: task_service_pb2.ClaimTaskResponse, **metrics: float) -> resources_pb2.Trial:
        request = task_service_pb2.CompleteTaskRequest(
            name=claim.task.name,
            lease_token=claim.lease.token,
            measurement=resources_pb2.Measurement(step=10, metrics=metrics or {"accuracy": 0.5}),
        )
        return self.tasks.CompleteTask(request).trial

    def fail(
        self, claim: task_service_pb2.ClaimTaskResponse, reason: str = "INTERNAL", **kwargs: Any
    ) -> resources_pb2.Trial:
        request = task_service_pb2.FailTaskRequest(
            name=claim.task.name, lease_token=claim.lease.token, reason=reason, **kwargs
        )
        return self.tasks.FailTask(request).trial

    def renew(self, claim: task_service_pb2.ClaimTaskResponse) -> task_service_pb2.RenewLeaseResponse:
        return self.tasks.RenewLease(
            task_service_pb2.RenewLeaseRequest(name=claim.task.name, lease_token=claim.lease.token)
        )

    def release(self, claim: task_service_pb2.ClaimTaskResponse) -> None:
        self.tasks.ReleaseTask(
            task_service_pb2.ReleaseTaskRequest(name=claim.task.name, lease_token=claim.lease.token)
        )

    def report(
        self, claim: task_service_pb2.ClaimTaskResponse, saved_model_dir: str = "", **metrics: float
    ) -> task_service_pb2.ReportMeasurementResponse:
        return self.tasks.ReportMeasurement(
            task_service_pb2.ReportMeasurementRequest(
                name=claim.task.name,
                lease_token=claim.lease.token,
                measurement=resources_pb2.Measurement(step=1, metrics=metrics),
                saved_model_dir=saved_model_dir,
            )
        )


@pytest.fixture
def orchestrator(tmp_path: Path) -> Iterator[LiveOrchestrator]:
    live = LiveOrchestrator(tmp_path)
    yield live
    live.stop()
