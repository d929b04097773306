"""SearchClient over a real channel: the same promises from the real orchestrator and from the tests' fake."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from nas.v1 import resources_pb2

from nas_client import SearchClient, ServiceError
from nas_client.client import job_id, trial_number

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "client"))

from fake_search_service import FakeSearchService, serve

_Job = resources_pb2.SearchJob
_Trial = resources_pb2.Trial


def new_job(name: str = "first", *, trials: int = 3, parallel: int = 2, space: str = "mnasnet") -> _Job:
    spec = resources_pb2.SearchJobSpec(
        search_space=space,
        reward=resources_pb2.RewardSpec(metric="top_1_accuracy"),
        limits=resources_pb2.Limits(max_trial_count=trials, max_parallel_trial_count=parallel),
    )
    return _Job(display_name=name, spec=spec)


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Endpoint of a real orchestrator in a process of its own."""
    directory = tmp_path_factory.mktemp("orchestrator")
    port_file = directory / "port"
    command = [sys.executable, "-m", "nas_orchestrator.main", "--listen=127.0.0.1:0", "--exit_with_parent"]
    command += [f"--port_file={port_file}", f"--database=sqlite:///{directory / 'nas.db'}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not port_file.exists():
        assert process.poll() is None, "the orchestrator ended at start"
        assert time.monotonic() < deadline, "the orchestrator did not listen"
        time.sleep(0.05)
    yield f"127.0.0.1:{port_file.read_text().strip()}"
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture(params=["fake", "orchestrator"])
def client(request: pytest.FixtureRequest) -> Iterator[SearchClient]:
    if request.param == "orchestrator":
        with SearchClient(request.getfixturevalue("orchestrator")) as client:
            yield client
        return
    server, endpoint = serve(FakeSearchService())
    with SearchClient(endpoint) as client:
        yield client
    server.stop(0)


def test_a_new_job_runs_and_has_requested_its_first_trials(client: SearchClient) -> None:
    job = client.create(new_job(parallel=2))
    assert job.state == _Job.RUNNING
    assert job_id(job).isdigit()
    assert job.trial_counts.open == 2
    assert [trial_number(trial) for trial in client.trials(job.name)] == [1, 2]
    assert client.trial(job.name, 2).state == _Trial.REQUESTED
    assert client.get(job_id(job)).name == job.name


def test_jobs_are_listed_newest_first(client: SearchClient) -> None:
    names = [client.create(new_job(f"job-{number}")).name for number in range(3)]
    listed = [job.name for job in client.jobs()]
    assert listed[:3] == names[::-1]


def test_trials_come_page_by_page_up_to_the_limit(
    client: SearchClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_client.client._PAGE_SIZE", 2)
    job = client.create(new_job(trials=5, parallel=5))
    assert [trial_number(trial) for trial in client.trials(job.name)] == [1, 2, 3, 4, 5]
    assert [trial_number(trial) for trial in client.trials(job.name, limit=3)] == [1, 2, 3]
    assert [trial_number(trial) for trial in client.trials(job.name, best_first=True)] == [1, 2, 3, 4, 5]


def test_a_cancelled_job_without_claimed_trials_ends_and_stays_as_it_is(client: SearchClient) -> None:
    job = client.create(new_job())
    client.cancel(job.name)
    assert client.get(job.name).state == _Job.CANCELLED
    assert client.cancel(job.name).state == _Job.CANCELLED
    assert {trial.state for trial in client.trials(job.name)} == {_Trial.CANCELLED}


def test_a_resumed_job_runs_on_with_new_limits_and_a_running_one_stays_as_it_is(
    client: SearchClient,
) -> None:
    job = client.create(new_job(trials=3, parallel=2))
    unchanged = client.resume(
        job.name, limits=resources_pb2.Limits(max_trial_count=9, max_parallel_trial_count=9)
    )
    assert unchanged.spec.limits == job.spec.limits
    client.cancel(job.name)
    limits = resources_pb2.Limits(max_trial_count=4, max_parallel_trial_count=1)
    resumed = client.resume(job.name, limits=limits)
    assert resumed.state == _Job.RUNNING
    assert resumed.spec.limits.max_trial_count == 4
    assert resumed.trial_counts.open == 1
    assert [trial.state for trial in client.trials(job.name)][2] == _Trial.REQUESTED


def test_a_watch_begins_with_the_job_and_ends_with_it(client: SearchClient) -> None:
    job = client.create(new_job())
    updates = client.watch(job.name)
    first = next(updates)
    assert first.search_job.name == job.name
    assert not first.HasField("trial")
    threading.Timer(0.2, client.cancel, [job.name]).start()
    rest = list(updates)
    assert rest[-1].search_job.state == _Job.CANCELLED
    cancelled = {trial_number(update.trial) for update in rest if update.trial.state == _Trial.CANCELLED}
    assert cancelled == {1, 2}


def test_a_watch_of_an_ended_job_says_so_and_ends(client: SearchClient) -> None:
    job = client.create(new_job())
    client.cancel(job.name)
    updates = list(client.watch(job.name))
    assert [update.search_job.state for update in updates] == [_Job.CANCELLED]


def test_an_unknown_job_is_not_found_whatever_is_asked_of_it(client: SearchClient) -> None:
    asks = (
        lambda: client.get("7"),
        lambda: client.cancel("7"),
        lambda: client.resume("7"),
        lambda: client.trial("7", 1),
        lambda: list(client.trials("7")),
        lambda: list(client.watch("7")),
    )
    for ask in asks:
        with pytest.raises(ServiceError, match="searchJobs/7") as error:
            ask()
        assert error.value.code is grpc.StatusCode.NOT_FOUND


def test_a_job_that_cannot_be_is_refused_and_nothing_is_stored(client: SearchClient) -> None:
    before = [job.name for job in client.jobs()]
    with pytest.raises(ServiceError, match="search_space") as error:
        client.create(new_job(space="nosuchspace"))
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [job.name for job in client.jobs()] == before
