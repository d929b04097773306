"""SearchClient when the server is away, restarting or none at all."""

import threading
import time

import grpc
import pytest
from fake_search_service import FakeSearchService
from nas.v1 import resources_pb2

from nas_client import SearchClient, ServiceError

_Job = resources_pb2.SearchJob


def new_job() -> _Job:
    job = _Job(display_name="first")
    job.spec.search_space = "mnasnet"
    job.spec.limits.max_trial_count = 2
    job.spec.limits.max_parallel_trial_count = 1
    return job


def test_a_call_waits_for_a_server_that_is_away(service: FakeSearchService, client: SearchClient) -> None:
    service.refuse(3)
    job = client.create(new_job())
    assert service.calls == ["CreateSearchJob"] * 4
    assert [found.name for found in client.jobs()] == [job.name]


def test_a_broken_stream_is_opened_anew_and_begins_with_the_job_again(
    service: FakeSearchService, client: SearchClient
) -> None:
    job = client.create(new_job())
    updates = client.watch(job.name)
    next(updates)
    service.break_streams()
    service.refuse(2)
    again = next(updates)
    assert not again.HasField("trial")
    service.settle(job.name, 1, resources_pb2.Trial.SUCCEEDED, reward=0.5)
    service.settle(job.name, 2, resources_pb2.Trial.FAILED)
    rest = list(updates)
    assert rest[-1].search_job.state == _Job.SUCCEEDED
    assert {update.trial.name[-1] for update in rest if update.HasField("trial")} == {"1", "2"}


def test_trials_that_settle_together_with_the_job_are_all_told(
    service: FakeSearchService, client: SearchClient
) -> None:
    job = new_job()
    job.spec.limits.max_parallel_trial_count = 2
    job = client.create(job)
    updates = client.watch(job.name)
    next(updates)
    with service._changed:
        service.settle(job.name, 1, resources_pb2.Trial.SUCCEEDED, reward=0.5)
        service.settle(job.name, 2, resources_pb2.Trial.SUCCEEDED, reward=0.6)
    settled = [
        update.trial.name[-1] for update in updates if update.trial.state == resources_pb2.Trial.SUCCEEDED
    ]
    assert settled == ["1", "2"]


def test_a_watch_gives_up_on_a_server_that_stays_away() -> None:
    client = SearchClient("127.0.0.1:1", patience_seconds=0.1)
    with pytest.raises(ServiceError, match="no orchestrator answers"):
        list(client.watch("7", patience_seconds=0.3))


def test_closing_the_client_ends_its_streams(service: FakeSearchService, client: SearchClient) -> None:
    job = client.create(new_job())
    updates = client.watch(job.name)
    next(updates)
    threading.Timer(0.2, client.close).start()
    started = time.monotonic()
    assert list(updates) == []
    assert time.monotonic() - started < 5


def test_nobody_at_the_endpoint_is_one_clear_sentence() -> None:
    with (
        SearchClient("127.0.0.1:1", patience_seconds=0.2) as client,
        pytest.raises(ServiceError) as error,
    ):
        client.get("7")
    assert "no orchestrator answers at 127.0.0.1:1 (Connection refused)" in str(error.value)
    assert error.value.code is grpc.StatusCode.UNAVAILABLE
