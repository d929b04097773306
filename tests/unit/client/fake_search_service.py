"""A SearchService that keeps its jobs in memory and lets a test play the workers.

It answers as the protos say: idempotent creation, pages, watch streams that begin with the job and end with
it. `tests/contract/test_client.py` holds it and the real orchestrator to the same promises.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import timestamp_pb2
from nas.v1 import resources_pb2, search_service_pb2, search_service_pb2_grpc

_Job = resources_pb2.SearchJob
_Trial = resources_pb2.Trial
_ENDED = (_Job.SUCCEEDED, _Job.FAILED, _Job.CANCELLED)
_SETTLED = (_Trial.SUCCEEDED, _Trial.INFEASIBLE, _Trial.FAILED, _Trial.CANCELLED)


def copy(message: Any) -> Any:
    """The message as it is now; the original may change."""
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


class FakeSearchService(search_service_pb2_grpc.SearchServiceServicer):
    """Attributes:
    calls: names of the methods called, in order.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._jobs: dict[str, resources_pb2.SearchJob] = {}
        self._trials: dict[str, list[resources_pb2.Trial]] = {}
        self._by_request: dict[str, str] = {}
        self._changes: dict[str, list[int | None]] = {}
        self._changed = threading.Condition(threading.RLock())
        self._stream_generation = 0
        self._refusals = 0

    # What a test does in place of workers and disasters.

    def refuse(self, count: int) -> None:
        """The next `count` calls find storage down."""
        self._refusals = count

    def break_streams(self) -> None:
        """Every open watch stream ends as if the server went away."""
        with self._changed:
            self._stream_generation += 1
            self._changed.notify_all()

    def settle(self, job: str, number: int, state: int, **fields: Any) -> None:
        """Brings trial `number` to a terminal state, fills its slot and ends the job at its limits."""
        with self._changed:
            kept, trial = self._jobs[job], self._trials[job][number - 1]
            trial.state = state
            for name, value in fields.items():
                if name == "metrics":
                    trial.metrics.update(value)
                else:
                    setattr(trial, name, value)
            if not trial.HasField("start_time"):
                trial.start_time.CopyFrom(_now())
            trial.end_time.CopyFrom(_now())
            if trial.HasField("reward") and (not kept.best_trial or trial.reward > kept.best_reward):
                kept.best_trial, kept.best_reward = trial.name, trial.reward
            self._recount(job)
            counts = kept.trial_counts
            settled = counts.succeeded + counts.infeasible + counts.failed
            if kept.state == _Job.CANCELLING and not counts.open:
                self._end(job, _Job.CANCELLED)
            elif kept.state == _Job.RUNNING and settled >= kept.spec.limits.max_trial_count:
                self._end(job, _Job.SUCCEEDED)
            else:
                self._fill(job)
            self._note(job, number)

    def activate(self, job: str, number: int) -> None:
        """A worker has claimed the trial."""
        with self._changed:
            trial = self._trials[job][number - 1]
            trial.state = _Trial.ACTIVE
            trial.start_time.CopyFrom(_now())
            trial.train_attempts = 1
            self._note(job, number)

    def report(self, job: str, number: int, step: int, **metrics: float) -> None:
        """Its trainer reports a measurement."""
        with self._changed:
            latest = self._trials[job][number - 1].latest_measurement
            latest.step = step
            latest.metrics.update(metrics)
            self._note(job, number)

    def fail(self, job: str, message: str) -> None:
        """The job itself is wrong."""
        with self._changed:
            self._jobs[job].error_message = message
            self._end(job, _Job.FAILED)
            self._note(job, None)

    # nas.v1.SearchService

    def CreateSearchJob(
        self, request: search_service_pb2.CreateSearchJobRequest, context: grpc.ServicerContext
    ) -> resources_pb2.SearchJob:
        self._begin("CreateSearchJob", context)
        with self._changed:
            known = self._by_request.get(request.request_id)
            if known:
                return copy(self._jobs[known])
            if request.search_job.spec.search_space != "mnasnet":
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"spec.search_space: found {request.search_job.spec.search_space!r}; expected mnasnet",
                )
            name = f"searchJobs/{1000 + len(self._jobs)}"
            job = copy(request.search_job)
            job.name, job.state = name, _Job.RUNNING
            job.create_time.CopyFrom(_now())
            if job.spec.root_output_dir:
                job.output_dir = f"{job.spec.root_output_dir}/{job.display_name}_20261123_101112"
            self._jobs[name], self._trials[name], self._changes[name] = job, [], []
            self._by_request[request.request_id] = name
            self._fill(name)
            return copy(job)

    def GetSearchJob(
        self, request: search_service_pb2.GetSearchJobRequest, context: grpc.ServicerContext
    ) -> resources_pb2.SearchJob:
        self._begin("GetSearchJob", context)
        with self._changed:
            return copy(self._job(request.name, context))

    def ListSearchJobs(
        self, request: search_service_pb2.ListSearchJobsRequest, context: grpc.ServicerContext
    ) -> search_service_pb2.ListSearchJobsResponse:
        self._begin("ListSearchJobs", context)
        with self._changed:
            newest_first = [copy(job) for job in reversed(self._jobs.values())]
        page, token = _page(newest_first, request.page_size, request.page_token)
        return search_service_pb2.ListSearchJobsResponse(search_jobs=page, next_page_token=token)

    def CancelSearchJob(
        self, request: search_service_pb2.CancelSearchJobRequest, context: grpc.ServicerContext
    ) -> resources_pb2.SearchJob:
        self._begin("CancelSearchJob", context)
        with self._changed:
            job = self._job(request.name, context)
            if job.state == _Job.RUNNING:
                job.state = _Job.CANCELLING
                for number, trial in enumerate(self._trials[job.name], 1):
                    if trial.state == _Trial.REQUESTED:
                        self.settle(job.name, number, _Trial.CANCELLED)
                    elif trial.state == _Trial.ACTIVE:
                        trial.state = _Trial.STOPPING
                        self._note(job.name, number)
            return copy(job)

    def ResumeSearchJob(
        self, request: search_service_pb2.ResumeSearchJobRequest, context: grpc.ServicerContext
    ) -> resources_pb2.SearchJob:
        self._begin("ResumeSearchJob", context)
        with self._changed:
            job = self._job(request.name, context)
            if job.state == _Job.RUNNING:
                return copy(job)
            limits = request.limits if request.HasField("limits") else job.spec.limits
            counts = job.trial_counts
            settled = counts.succeeded + counts.infeasible + counts.failed
            if limits.max_trial_count <= settled:
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"limits.max_trial_count: found {limits.max_trial_count}; {job.name} has settled "
                    f"{settled} trials, expected more than that",
                )
            job.spec.limits.CopyFrom(limits)
            job.state, job.error_message = _Job.RUNNING, ""
            job.ClearField("end_time")
            self._fill(job.name)
            return copy(job)

    def GetTrial(
        self, request: search_service_pb2.GetTrialRequest, context: grpc.ServicerContext
    ) -> resources_pb2.Trial:
        self._begin("GetTrial", context)
        parent, _, number = request.name.partition("/trials/")
        with self._changed:
            self._job(parent, context)
            trials = self._trials[parent]
            if not number.isdigit() or not 1 <= int(number) <= len(trials):
                context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} does not exist")
            return copy(trials[int(number) - 1])

    def ListTrials(
        self, request: search_service_pb2.ListTrialsRequest, context: grpc.ServicerContext
    ) -> search_service_pb2.ListTrialsResponse:
        self._begin("ListTrials", context)
        with self._changed:
            self._job(request.parent, context)
            trials = [copy(trial) for trial in self._trials[request.parent]]
        if request.order_by == search_service_pb2.ListTrialsRequest.BEST_FIRST:
            trials.sort(key=lambda trial: (not trial.HasField("reward"), -trial.reward))
        page, token = _page(trials, request.page_size, request.page_token)
        return search_service_pb2.ListTrialsResponse(trials=page, next_page_token=token)

    def WatchSearchJob(
        self, request: search_service_pb2.WatchSearchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[search_service_pb2.WatchSearchJobResponse]:
        self._begin("WatchSearchJob", context)
        with self._changed:
            job = self._job(request.name, context)
            generation, seen = self._stream_generation, len(self._changes[job.name])
            first = search_service_pb2.WatchSearchJobResponse(search_job=job)
        yield first
        ended = first.search_job.state in _ENDED
        while not ended and context.is_active():
            with self._changed:
                if len(self._changes[job.name]) == seen and generation == self._stream_generation:
                    self._changed.wait(0.2)
                if generation != self._stream_generation:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the server goes away")
                news = self._changes[job.name][seen:]
                seen += len(news)
                ended = bool(news) and job.state in _ENDED
                answers = [
                    search_service_pb2.WatchSearchJobResponse(
                        search_job=job, trial=self._trials[job.name][number - 1] if number else None
                    )
                    for number in dict.fromkeys(news)
                ]
            yield from answers

    def _begin(self, name: str, context: grpc.ServicerContext) -> None:
        self.calls.append(name)
        if self._refusals > 0:
            self._refusals -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "storage is down")

    def _job(self, name: str, context: grpc.ServicerContext) -> resources_pb2.SearchJob:
        if name not in self._jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{name} does not exist")
        return self._jobs[name]

    def _fill(self, name: str) -> None:
        """Requests trials until the slots are full or none is left to request."""
        job, trials = self._jobs[name], self._trials[name]
        limits = job.spec.limits
        self._recount(name)
        while job.state == _Job.RUNNING:
            counts = job.trial_counts
            settled = counts.succeeded + counts.infeasible + counts.failed
            if counts.open >= limits.max_parallel_trial_count:
                return
            if settled + counts.open >= limits.max_trial_count:
                return
            number = len(trials) + 1
            trial = _Trial(name=f"{name}/trials/{number}", state=_Trial.REQUESTED, stage=_Trial.SEARCH)
            trial.nas_params_str = '{"blocks[0].kernel_size": "0/2 (3)"}'
            trial.create_time.CopyFrom(_now())
            if job.output_dir:
                trial.trial_dir = f"{job.output_dir}/nas/search/{number}"
            trials.append(trial)
            self._recount(name)
            self._note(name, number)

    def _recount(self, name: str) -> None:
        trials = self._trials[name]
        in_state: Callable[..., int] = lambda *states: sum(trial.state in states for trial in trials)  # noqa: E731
        self._jobs[name].trial_counts.CopyFrom(
            resources_pb2.TrialCounts(
                created=len(trials),
                open=len(trials) - in_state(*_SETTLED),
                succeeded=in_state(_Trial.SUCCEEDED),
                infeasible=in_state(_Trial.INFEASIBLE),
                failed=in_state(_Trial.FAILED),
                cancelled=in_state(_Trial.CANCELLED),
            )
        )

    def _end(self, name: str, state: int) -> None:
        self._jobs[name].state = state
        self._jobs[name].end_time.CopyFrom(_now())

    def _note(self, name: str, number: int | None) -> None:
        self._changes[name].append(number)
        self._changed.notify_all()


def serve(service: FakeSearchService) -> tuple[grpc.Server, str]:
    """Serves on a free port of loopback; returns the server and its `host:port`."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    search_service_pb2_grpc.add_SearchServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def _now() -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.GetCurrentTime()
    return stamp


def _page(items: list[Any], size: int, token: str) -> tuple[list[Any], str]:
    start = int(token or 0)
    end = start + (min(size, 1000) or 50)
    return items[start:end], str(end) if end < len(items) else ""
