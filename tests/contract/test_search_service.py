"""SearchService over a real channel: people describe a search, watch it, and end it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from nas.v1 import resources_pb2, search_service_pb2

from nas_orchestrator.domain.job import AlgorithmKind, AlgorithmSpec
from nas_orchestrator.search.algorithm import SettledTrial, build_algorithm
from nas_shared import search_spaces


def refusal(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str]:
    return error.value.code(), error.value.details()


def test_a_created_job_runs_and_fills_its_parallel_slots(orchestrator):
    job = orchestrator.create(trials=4, parallel=2)
    assert job.state == resources_pb2.SearchJob.RUNNING
    assert (job.trial_counts.created, job.trial_counts.open) == (2, 2)
    assert job.output_dir.endswith("/out/digits_20270115_080000")
    assert [trial.state for trial in orchestrator.trials(job.name)] == [resources_pb2.Trial.REQUESTED] * 2


def test_jobs_of_one_name_and_second_get_directories_of_their_own(orchestrator):
    directories = [orchestrator.create().output_dir for _ in range(3)]
    assert [path[-6:] for path in directories] == ["080000", "080001", "080002"]


def test_a_repeated_request_returns_the_job_of_the_first(orchestrator):
    first = orchestrator.create(request_id="abc")
    again = orchestrator.create(request_id="abc")
    assert again == first
    assert (
        len(orchestrator.search.ListSearchJobs(search_service_pb2.ListSearchJobsRequest()).search_jobs) == 1
    )


def test_a_request_id_of_another_job_is_refused(orchestrator):
    orchestrator.create(request_id="abc")
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.create(name="other", request_id="abc")
    code, message = refusal(error)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "request_id" in message
    assert "'other'" in message


def test_concurrent_repeats_of_a_request_make_one_job(orchestrator):
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: orchestrator.create(request_id="same").name, range(16)))
    assert len(names) == 1


@pytest.mark.parametrize(
    ("overrides", "field", "found"),
    [
        ({"trials": 0}, "limits.max_trial_count", "0"),
        ({"trials": -3}, "limits.max_trial_count", "-3"),
        ({"parallel": 0}, "limits.max_parallel_trial_count", "0"),
        ({"max_failed": -1}, "limits.max_failed_trial_count", "-1"),
        ({"search_space": "resnet"}, "search_space", "resnet"),
        ({"search_space": "os:path"}, "search_space", "os"),
        ({"name": "a/b"}, "display_name", "a/b"),
        ({"name": ""}, "display_name", "''"),
        ({"name": ".."}, "display_name", ".."),
        ({"population_size": -2}, "algorithm.population_size", "-2"),
        ({"reward": resources_pb2.RewardSpec()}, "reward.metric", "nothing"),
        (
            {
                "reward": resources_pb2.RewardSpec(metric="m", latency_ms=resources_pb2.Target(value=-1)),
                "measured": True,
            },
            "reward.latency_ms.value",
            "-1",
        ),
        (
            {
                "reward": resources_pb2.RewardSpec(
                    metric="m",
                    latency_ms=resources_pb2.Target(value=1),
                    multiply_adds_billion=resources_pb2.Target(value=1),
                )
            },
            "multiply_adds_billion",
            "both",
        ),
        (
            {"reward": resources_pb2.RewardSpec(metric="m", latency_ms=resources_pb2.Target(value=1))},
            "spec.measure",
            "none",
        ),
        ({"measured": True, "root_output_dir": ""}, "root_output_dir", "nothing"),
        ({"train": resources_pb2.TrainSpec(accelerator_type="NVIDIA_TESLA_T4")}, "accelerator_count", "0"),
    ],
)
def test_a_wrong_job_is_refused_with_the_field_and_nothing_is_stored(orchestrator, overrides, field, found):
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.create(**overrides)
    code, message = refusal(error)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in message
    assert found in message
    assert not orchestrator.search.ListSearchJobs(search_service_pb2.ListSearchJobsRequest()).search_jobs


@pytest.mark.parametrize("name", ["", "searchJobs/", "searchJobs/x", "searchJobs/1/trials/0", "jobs/1"])
def test_a_malformed_name_is_refused_with_what_was_expected(orchestrator, name):
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.job(name)
    code, message = refusal(error)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "searchJobs/{job}" in message


def test_resources_that_do_not_exist_are_named(orchestrator):
    job = orchestrator.create()
    for call, name in (
        (orchestrator.job, "searchJobs/12"),
        (orchestrator.trial, f"{job.name}/trials/99"),
        (orchestrator.trials, "searchJobs/12"),
        (orchestrator.cancel, "searchJobs/12"),
    ):
        with pytest.raises(grpc.RpcError) as error:
            call(name)
        assert refusal(error) == (grpc.StatusCode.NOT_FOUND, f"{name} does not exist")


def test_pages_walk_through_all_jobs_newest_first(orchestrator):
    created = [orchestrator.create(name=f"job-{i}").name for i in range(5)]
    found, token = [], ""
    for _ in range(3):
        request = search_service_pb2.ListSearchJobsRequest(page_size=2, page_token=token)
        page = orchestrator.search.ListSearchJobs(request)
        found += [job.name for job in page.search_jobs]
        token = page.next_page_token
    assert found == created[::-1]
    assert token == ""


def test_a_page_token_of_somebody_else_is_refused(orchestrator):
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.search.ListSearchJobs(search_service_pb2.ListSearchJobsRequest(page_token="???"))
    assert refusal(error)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_best_first_lists_succeeded_trials_by_reward_and_the_others_behind(orchestrator):
    job = orchestrator.create(trials=4, parallel=4)
    claims = [orchestrator.claim(f"w{i}") for i in range(4)]
    for claim, accuracy in zip(claims[:3], (0.2, 0.9, 0.4), strict=True):
        orchestrator.complete(claim, accuracy=accuracy)
    best_first = orchestrator.trials(job.name, order_by=search_service_pb2.ListTrialsRequest.BEST_FIRST)
    assert [trial.reward for trial in best_first[:3]] == [0.9, 0.4, 0.2]
    assert best_first[3].state == resources_pb2.Trial.ACTIVE
    assert orchestrator.job(job.name).best_trial == best_first[0].name
    assert orchestrator.job(job.name).best_reward == 0.9


def test_a_watcher_sees_the_job_at_once_every_settled_trial_and_the_end(orchestrator):
    job = orchestrator.create(trials=3, parallel=1)
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(orchestrator.wait_until_told, job.name)
        for _ in range(3):
            orchestrator.complete(orchestrator.claim(wait=5))
        seen = watched.result(30)
    assert seen[0].search_job.state == resources_pb2.SearchJob.RUNNING
    assert not seen[0].HasField("trial")
    assert seen[-1].search_job.state == resources_pb2.SearchJob.SUCCEEDED
    settled = {answer.trial.name for answer in seen if answer.trial.state == resources_pb2.Trial.SUCCEEDED}
    assert settled == {f"{job.name}/trials/{number}" for number in (1, 2, 3)}


def test_a_watcher_hears_the_measurements_of_a_trainer(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    stream = orchestrator.search.WatchSearchJob(
        search_service_pb2.WatchSearchJobRequest(name=job.name), timeout=30
    )
    next(stream)
    claim = orchestrator.claim()
    orchestrator.report(claim, loss=0.25)
    seen = next(answer.trial for answer in stream if answer.trial.HasField("latest_measurement"))
    assert dict(seen.latest_measurement.metrics) == {"loss": 0.25}
    stream.cancel()


def test_watching_a_job_that_has_ended_gives_its_state_and_ends(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.complete(orchestrator.claim())
    seen = orchestrator.wait_until_told(job.name)
    assert [answer.search_job.state for answer in seen] == [resources_pb2.SearchJob.SUCCEEDED]


def test_cancelling_an_idle_job_cancels_it_at_once(orchestrator):
    job = orchestrator.create(trials=4, parallel=2)
    cancelled = orchestrator.cancel(job.name)
    assert cancelled.state == resources_pb2.SearchJob.CANCELLED
    assert cancelled.trial_counts.cancelled == 2
    assert not orchestrator.claim().HasField("task")
    assert orchestrator.cancel(job.name) == cancelled


def test_cancelling_asks_the_workers_to_stop_and_ends_when_they_have(orchestrator):
    job = orchestrator.create(trials=4, parallel=2)
    claim = orchestrator.claim()
    assert orchestrator.cancel(job.name).state == resources_pb2.SearchJob.CANCELLING
    assert orchestrator.renew(claim).stop
    assert orchestrator.report(claim, loss=1.0).stop
    orchestrator.release(claim)
    ended = orchestrator.job(job.name)
    assert ended.state == resources_pb2.SearchJob.CANCELLED
    assert {trial.state for trial in orchestrator.trials(job.name)} == {resources_pb2.Trial.CANCELLED}


def test_a_cancelled_job_resumes_with_its_history_and_settles_its_count(orchestrator):
    job = orchestrator.create(trials=3, parallel=1)
    orchestrator.complete(orchestrator.claim())
    orchestrator.cancel(job.name)
    resumed = orchestrator.search.ResumeSearchJob(search_service_pb2.ResumeSearchJobRequest(name=job.name))
    assert resumed.state == resources_pb2.SearchJob.RUNNING
    for _ in range(2):
        orchestrator.complete(orchestrator.claim(wait=5))
    ended = orchestrator.job(job.name)
    assert ended.state == resources_pb2.SearchJob.SUCCEEDED
    assert (ended.trial_counts.succeeded, ended.trial_counts.cancelled) == (3, 1)


def test_a_finished_job_resumes_with_a_higher_count_and_a_new_directory_any_number_of_times(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.complete(orchestrator.claim())
    for count in (2, 3):
        request = search_service_pb2.ResumeSearchJobRequest(
            name=job.name,
            limits=resources_pb2.Limits(max_trial_count=count, max_parallel_trial_count=1),
            root_output_dir=str(orchestrator.directory / f"more-{count}"),
        )
        assert orchestrator.search.ResumeSearchJob(request).state == resources_pb2.SearchJob.RUNNING
        trial = orchestrator.complete(orchestrator.claim(wait=5))
        assert f"/more-{count}/digits_" in trial.trial_dir
    assert orchestrator.job(job.name).trial_counts.succeeded == 3


def test_resuming_without_a_trial_left_is_refused_and_the_job_stays_ended(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.complete(orchestrator.claim())
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.search.ResumeSearchJob(search_service_pb2.ResumeSearchJobRequest(name=job.name))
    code, message = refusal(error)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "max_trial_count" in message
    assert orchestrator.job(job.name).state == resources_pb2.SearchJob.SUCCEEDED


def test_only_a_job_that_has_ended_can_be_deleted(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    delete = search_service_pb2.DeleteSearchJobRequest(name=job.name)
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.search.DeleteSearchJob(delete)
    assert refusal(error)[0] == grpc.StatusCode.FAILED_PRECONDITION
    orchestrator.cancel(job.name)
    orchestrator.search.DeleteSearchJob(delete)
    with pytest.raises(grpc.RpcError) as error:
        orchestrator.job(job.name)
    assert refusal(error)[0] == grpc.StatusCode.NOT_FOUND


def test_seed_and_history_give_the_same_proposals_whoever_asks(orchestrator):
    space = search_spaces.load("mnasnet")
    runs = []
    for name in ("first", "second"):
        job = orchestrator.create(
            name=name, trials=6, parallel=1, algorithm="REGULARIZED_EVOLUTION", population_size=2
        )
        for number in range(6):
            orchestrator.complete(orchestrator.claim(wait=5), accuracy=number / 10)
            if name == "second" and number == 3:
                orchestrator.restart()
        trials = orchestrator.trials(job.name)
        assert [trial.proposed_after for trial in trials] == sorted(trial.proposed_after for trial in trials)
        runs.append(trials)
    replayed = []
    for trials in runs:
        spec = AlgorithmSpec(
            AlgorithmKind.REGULARIZED_EVOLUTION, seed=7, population_size=2, tournament_size=2
        )
        for number, trial in enumerate(trials, start=1):
            algorithm = build_algorithm(spec, space.cardinalities)
            for i in range(trial.proposed_after):
                algorithm.tell(SettledTrial(i + 1, space.choices(trials[i].nas_params_str), trials[i].reward))
            replayed.append(space.nas_params_str(algorithm.propose(number)) == trial.nas_params_str)
    assert all(replayed)
    assert len(replayed) == 12


def test_job_ids_are_numeric_and_health_and_reflection_answer(orchestrator):
    assert orchestrator.create().name.removeprefix("searchJobs/").isdigit()
    health = health_pb2_grpc.HealthStub(orchestrator.channel)
    for service in ("", "nas.v1.SearchService", "nas.v1.TaskService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(orchestrator.channel).ServerReflectionInfo(
        iter([request])
    )
    names = {service.name for service in answer.list_services_response.service}
    assert {"nas.v1.SearchService", "nas.v1.TaskService"} <= names


def test_the_files_of_a_trial_are_published_whole_with_the_status_last(orchestrator):
    job = orchestrator.create(trials=1, parallel=1, measured=True)
    claim = orchestrator.claim()
    attempt_dir = Path(claim.task.train.attempt_dir)
    (attempt_dir / "untrained/saved_model").mkdir(parents=True)
    (attempt_dir / "saved_model").mkdir()
    (attempt_dir / "saved_model/saved_model.pb").write_text("model")
    (attempt_dir / "params.yaml").write_text("a: 1")
    orchestrator.report(claim, saved_model_dir=str(attempt_dir / "untrained/saved_model"))
    measure = orchestrator.claim("calculator", kind="MEASURE")
    orchestrator.complete(measure, latency_p50_ms=2.5, memory_bytes=1e6)
    orchestrator.complete(claim, accuracy=0.75, multiply_adds=3e8, parameters=100)
    orchestrator.wait_until_told(job.name)
    trial_dir = Path(claim.task.train.trial_dir)
    assert sorted(path.name for path in trial_dir.iterdir()) == [
        "job_status.json",
        "model_analysis.json",
        "params.yaml",
        "saved_model",
    ]
    assert json.loads((trial_dir / "job_status.json").read_text()) == {"job_status": "success"}
    analysis = json.loads((trial_dir / "model_analysis.json").read_text())
    assert analysis["accuracy"] == 0.75
    assert analysis["latency_in_milliseconds"] == 2.5
    assert analysis["multiply_adds_billion"] == 0.3


def test_a_nan_trial_leaves_its_status_file(orchestrator):
    job = orchestrator.create(trials=1, parallel=1)
    orchestrator.fail(orchestrator.claim(), reason="NAN_LOSS", message="loss is NaN at step 3")
    orchestrator.wait_until_told(job.name)
    (status,) = orchestrator.directory.glob("out/*/nas/search/1/job_status.json")
    assert json.loads(status.read_text()) == {
        "job_status": "failed_with_nan_error",
        "error_message": "loss is NaN at step 3",
    }
