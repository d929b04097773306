"""Python client of the SearchService: start a search, watch it, read its trials."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from nas.v1 import resources_pb2, search_service_pb2, search_service_pb2_grpc

from nas_shared import rpc
from nas_shared.cli import CommandError

ENDED = frozenset(
    (resources_pb2.SearchJob.SUCCEEDED, resources_pb2.SearchJob.FAILED, resources_pb2.SearchJob.CANCELLED)
)
_CALL_SECONDS = 30.0
_PAGE_SIZE = 500


class ServiceError(CommandError):
    """The orchestrator answered with an error, or not at all; the message says which.

    Attributes:
      code: the gRPC status code. UNAVAILABLE and DEADLINE_EXCEEDED have been retried already; the same call
        may succeed later. Every other code stays until the request or the resource changes.
    """

    def __init__(self, message: str, code: grpc.StatusCode):
        super().__init__(message)
        self.code = code


class SearchClient:
    """People's side of the orchestrator at `endpoint`.

    Jobs are named by id (`7`) or by resource name (`searchJobs/7`). Calls may come from any thread. Calls
    that find the orchestrator away are repeated for `patience_seconds`.

        with SearchClient("127.0.0.1:8470") as client:
            job = client.create(resources_pb2.SearchJob(display_name="first", spec=spec))
            for update in client.watch(job.name):
                print(update.search_job.trial_counts)
            best = next(client.trials(job.name, best_first=True))
    """

    def __init__(self, endpoint: str, *, token: str | None = None, patience_seconds: float = 15.0):
        """Opens a channel; the connection is made with the first call.

        Args:
          endpoint: `host:port`, or `https://host[:port]`.
          token: what the orchestrator asks for, if it does.
          patience_seconds: how long a call waits for an orchestrator that is away or restarting.
        """
        self.endpoint = endpoint
        self._policy = rpc.RetryPolicy(give_up_after_seconds=patience_seconds)
        self._channel = rpc.connect(endpoint, token)
        self._stub: Any = search_service_pb2_grpc.SearchServiceStub(self._channel)
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; streams end and calls under way fail."""
        self._closed.set()
        self._channel.close()

    def create(self, job: resources_pb2.SearchJob) -> resources_pb2.SearchJob:
        """Starts a search; exactly one, however often the request has to be sent."""
        request = search_service_pb2.CreateSearchJobRequest(search_job=job, request_id=str(uuid.uuid4()))
        answer: resources_pb2.SearchJob = self._call(self._stub.CreateSearchJob, request)
        return answer

    def get(self, job: str) -> resources_pb2.SearchJob:
        """The job as it is now."""
        request = search_service_pb2.GetSearchJobRequest(name=job_name(job))
        answer: resources_pb2.SearchJob = self._call(self._stub.GetSearchJob, request)
        return answer

    def jobs(self) -> Iterator[resources_pb2.SearchJob]:
        """All jobs, newest first; pages are fetched as they are needed."""
        token = ""
        while True:
            request = search_service_pb2.ListSearchJobsRequest(page_size=_PAGE_SIZE, page_token=token)
            page = self._call(self._stub.ListSearchJobs, request)
            yield from page.search_jobs
            token = page.next_page_token
            if not token:
                return

    def cancel(self, job: str) -> resources_pb2.SearchJob:
        """Asks the job to stop; returns at once. A job that has ended stays as it is."""
        request = search_service_pb2.CancelSearchJobRequest(name=job_name(job))
        answer: resources_pb2.SearchJob = self._call(self._stub.CancelSearchJob, request)
        return answer

    def resume(
        self, job: str, *, limits: resources_pb2.Limits | None = None, root_output_dir: str = ""
    ) -> resources_pb2.SearchJob:
        """Runs an ended job on; a running one stays as it is.

        Args:
          limits: new limits; None keeps the job's own.
          root_output_dir: where trials to come write; empty keeps the job's directory.
        """
        request = search_service_pb2.ResumeSearchJobRequest(
            name=job_name(job), limits=limits, root_output_dir=root_output_dir
        )
        answer: resources_pb2.SearchJob = self._call(self._stub.ResumeSearchJob, request)
        return answer

    def trial(self, job: str, number: int) -> resources_pb2.Trial:
        """Trial `number` (1, 2, 3 …) of the job as it is now."""
        request = search_service_pb2.GetTrialRequest(name=f"{job_name(job)}/trials/{number}")
        trial: resources_pb2.Trial = self._call(self._stub.GetTrial, request)
        return trial

    def trials(
        self, job: str, *, best_first: bool = False, limit: int | None = None
    ) -> Iterator[resources_pb2.Trial]:
        """The job's trials by number, or by reward; pages are fetched as they are needed.

        Args:
          best_first: succeeded trials by reward, best first, then the others by number.
          limit: how many at most; None for all.
        """
        return itertools.islice(self._all_trials(job, best_first=best_first, limit=limit), limit)

    def watch(
        self, job: str, *, patience_seconds: float = 300.0
    ) -> Iterator[search_service_pb2.WatchSearchJobResponse]:
        """The job at once, then every transition until it ends.

        A broken stream is opened anew, and its first message is again the job alone: a message without a
        trial may follow transitions that went unseen, so list the trials when it comes.

        Raises:
          ServiceError: if the job is unknown, or the orchestrator stays away for `patience_seconds`.
        """
        request = search_service_pb2.WatchSearchJobRequest(name=job_name(job))
        wait, last_seen, ended = self._policy.first_wait_seconds, time.monotonic(), False
        while not self._closed.is_set():
            try:
                for update in self._stub.WatchSearchJob(request):
                    wait, last_seen = self._policy.first_wait_seconds, time.monotonic()
                    # Not the last message: the trials that settled with the job follow.
                    ended = update.search_job.state in ENDED
                    yield update
                if ended:
                    return
            except grpc.RpcError as error:
                away = time.monotonic() - last_seen
                # A server that goes away ends its streams as CANCELLED or UNKNOWN as well.
                broken = rpc.is_transient(error) or error.code() in (
                    grpc.StatusCode.CANCELLED,
                    grpc.StatusCode.UNKNOWN,
                )
                if self._closed.is_set():
                    return
                if not broken or away > patience_seconds:
                    raise self._explain(error) from error
            self._closed.wait(wait)
            wait = min(wait * 2, self._policy.max_wait_seconds)

    def _all_trials(self, job: str, *, best_first: bool, limit: int | None) -> Iterator[resources_pb2.Trial]:
        order = search_service_pb2.ListTrialsRequest.OrderBy
        token = ""
        while True:
            request = search_service_pb2.ListTrialsRequest(
                parent=job_name(job),
                page_size=min(limit or _PAGE_SIZE, _PAGE_SIZE),
                page_token=token,
                order_by=order.BEST_FIRST if best_first else order.ORDER_BY_UNSPECIFIED,
            )
            page = self._call(self._stub.ListTrials, request)
            yield from page.trials
            token = page.next_page_token
            if not token:
                return

    def _call(self, method: Callable[..., Any], request: Message) -> Any:
        try:
            return rpc.call_with_retries(
                lambda: method(request, timeout=_CALL_SECONDS), self._policy, self._closed
            )
        except grpc.RpcError as error:
            raise self._explain(error) from error

    def _explain(self, error: grpc.RpcError) -> ServiceError:
        code, details = error.code(), error.details() or "no details"
        if code is grpc.StatusCode.UNAVAILABLE:
            return ServiceError(f"no orchestrator answers at {self.endpoint} ({_short(details)})", code)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServiceError(f"{self.endpoint} did not answer in {_CALL_SECONDS:.0f} s", code)
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return ServiceError(f"{self.endpoint} refuses the call: {details} (--token_file)", code)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return ServiceError(f"{self.endpoint} serves no nas.v1.SearchService ({_short(details)})", code)
        return ServiceError(details, code)


def job_name(job: str) -> str:
    """`searchJobs/7` for `7` and for itself."""
    return job if job.startswith("searchJobs/") else f"searchJobs/{job}"


def job_id(job: resources_pb2.SearchJob) -> str:
    """`7` for the job named `searchJobs/7`."""
    return job.name.removeprefix("searchJobs/")


def trial_number(trial: resources_pb2.Trial) -> int:
    """7 for `searchJobs/1/trials/7`."""
    return int(trial.name.rpartition("/")[2])


def _short(details: str) -> str:
    """The end of gRPC's words for a failed connection, without the addresses it repeats."""
    return details.rpartition("remote host: ")[2]
