"""The calculator as a worker of a real orchestrator: from MEASURE task to reward."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from google.protobuf import duration_pb2
from nas.v1 import (
    resources_pb2,
    search_service_pb2,
    search_service_pb2_grpc,
    task_service_pb2,
    task_service_pb2_grpc,
)

from nas_latency.calculator import Calculator
from nas_latency.handler import MeasureHandler
from nas_shared.rpc import connect
from nas_shared.work import Worker

FAKE_PROBE = Path(__file__).parents[1] / "unit" / "latency_calculator" / "fake_probe.py"
TRIAL = resources_pb2.Trial


@pytest.fixture
def orchestrator(tmp_path):
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "nas_orchestrator.main",
            "--listen=127.0.0.1:0",
            f"--database=sqlite:///{tmp_path}/nas.db",
            f"--port_file={port_file}",
            "--lease_seconds=1.5",
            "--exit_with_parent",
        ],
        stdin=subprocess.PIPE,
    )
    eventually(port_file.exists, "the orchestrator serves", 60)
    yield f"127.0.0.1:{port_file.read_text().strip()}"
    process.terminate()
    process.wait(20)
    process.stdin.close()


@pytest.fixture
def worker(orchestrator, tmp_path):
    worker = Worker(
        orchestrator,
        worker_id="latency-1",
        kind=task_service_pb2.Task.MEASURE,
        device_type="CPU",
        handler=MeasureHandler(
            Calculator(lock_dir=str(tmp_path), probe_command=[sys.executable, str(FAKE_PROBE)])
        ),
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield worker
    worker.shut_down()
    thread.join(20)
    assert not thread.is_alive()


class Search:
    """A job of one trial, and the trainer of that trial."""

    def __init__(self, target, tmp_path):
        channel = connect(target)
        self.searches = search_service_pb2_grpc.SearchServiceStub(channel)
        self.tasks = task_service_pb2_grpc.TaskServiceStub(channel)
        spec = resources_pb2.SearchJobSpec(
            search_space="mnasnet",
            reward=resources_pb2.RewardSpec(
                metric="top_1_accuracy",
                latency_ms=resources_pb2.Target(value=0.75, form=resources_pb2.Target.HARD),
            ),
            limits=resources_pb2.Limits(max_trial_count=1, max_parallel_trial_count=1),
            measure=resources_pb2.MeasureSpec(device_type="CPU"),
            root_output_dir=str(tmp_path / "out"),
        )
        job = resources_pb2.SearchJob(display_name="measured", spec=spec)
        request = search_service_pb2.CreateSearchJobRequest(search_job=job)
        self.job = self.searches.CreateSearchJob(request, timeout=10).name

    def train(self, model):
        """Claims the TRAIN task, reports a model of that name, and completes."""
        claim = self.tasks.ClaimTask(
            task_service_pb2.ClaimTaskRequest(
                worker_id="trainer-1",
                kind=task_service_pb2.Task.TRAIN,
                wait=duration_pb2.Duration(seconds=10),
            ),
            timeout=20,
        )
        saved_model_dir = Path(claim.task.train.attempt_dir) / "untrained" / model
        saved_model_dir.mkdir(parents=True)
        (saved_model_dir / "saved_model.pb").touch()
        self.tasks.ReportMeasurement(
            task_service_pb2.ReportMeasurementRequest(
                name=claim.task.name, lease_token=claim.lease.token, saved_model_dir=str(saved_model_dir)
            ),
            timeout=10,
        )
        self.tasks.CompleteTask(
            task_service_pb2.CompleteTaskRequest(
                name=claim.task.name,
                lease_token=claim.lease.token,
                measurement=resources_pb2.Measurement(step=1, metrics={"top_1_accuracy": 0.5}),
            ),
            timeout=10,
        )

    def trial(self):
        request = search_service_pb2.GetTrialRequest(name=f"{self.job}/trials/1")
        return self.searches.GetTrial(request, timeout=10)


def eventually(condition, what, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.02)


def test_measured_latency_and_trained_accuracy_make_the_reward(orchestrator, worker, tmp_path):
    search = Search(orchestrator, tmp_path)
    search.train("ok")
    eventually(lambda: search.trial().state == TRIAL.SUCCEEDED, "the trial succeeds")
    trial = search.trial()
    assert trial.metrics["latency_p50_ms"] == 1.5
    assert trial.metrics["memory_bytes"] == 123_456_789_012
    assert trial.reward == pytest.approx(0.5 * 0.75 / 1.5)


def test_model_that_cannot_be_measured_fails_its_trial_with_the_reason(orchestrator, worker, tmp_path):
    search = Search(orchestrator, tmp_path)
    search.train("unusable")
    eventually(lambda: search.trial().state == TRIAL.FAILED, "the trial fails")
    assert search.trial().failure_reason == resources_pb2.INVALID_MODEL
    assert "found no signature" in search.trial().error_message


def test_cancelled_search_ends_its_measurement_and_frees_the_worker(orchestrator, worker, tmp_path):
    search = Search(orchestrator, tmp_path)
    search.train("hang")
    eventually(lambda: list(tmp_path.glob("out/**/log.txt")), "the measurement starts")
    request = search_service_pb2.CancelSearchJobRequest(name=search.job)
    search.searches.CancelSearchJob(request, timeout=10)
    eventually(lambda: search.trial().state == TRIAL.CANCELLED, "the trial is cancelled")
    # The same worker measures the next search.
    following = Search(orchestrator, tmp_path)
    following.train("ok")
    eventually(lambda: following.trial().state == TRIAL.SUCCEEDED, "the next trial succeeds")
