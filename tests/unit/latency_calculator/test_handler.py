"""MEASURE tasks: what a search is told about each measurement."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import duration_pb2
from nas.v1 import resources_pb2, task_service_pb2

from nas_latency import convert
from nas_latency.calculator import Calculator
from nas_latency.handler import MeasureHandler
from nas_latency.messages import InputOptions
from nas_shared.work import TaskFailed, TaskStopped

FAKE_PROBE = Path(__file__).with_name("fake_probe.py")


class Run:
    """A claimed task, as far as the handler looks at it."""

    def __init__(self, saved_model_dir, options=None, should_stop=False):
        self.task = task_service_pb2.Task(
            kind=task_service_pb2.Task.MEASURE,
            measure=task_service_pb2.MeasureWork(
                saved_model_dir=str(saved_model_dir), device_type="CPU", options=options
            ),
        )
        self.should_stop = should_stop


@pytest.fixture
def handler(tmp_path):
    return MeasureHandler(Calculator(lock_dir=str(tmp_path), probe_command=[sys.executable, str(FAKE_PROBE)]))


def model(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "saved_model.pb").touch()
    return tmp_path / name


def test_metrics_carry_the_names_the_reward_reads(handler, tmp_path):
    outcome = handler.handle(Run(model(tmp_path, "ok")))
    assert outcome.step == 0
    assert outcome.metrics == {
        "latency_p50_ms": 1.5,
        "latency_p90_ms": 2.5,
        "latency_mean_ms": 1.75,
        "latency_std_ms": 0.5,
        "latency_min_ms": 1.25,
        "latency_count": 100.0,
        "memory_bytes": 123_456_789_012.0,
        "load_ms": 40.5,
        "first_inference_ms": 20.25,
    }


@pytest.mark.parametrize(
    ("name", "options", "reason", "retryable"),
    [
        ("segfault", {}, resources_pb2.INTERNAL, True),
        ("killed", {}, resources_pb2.RESOURCE_EXHAUSTED, True),
        ("out_of_memory", {}, resources_pb2.RESOURCE_EXHAUSTED, True),
        ("unusable", {}, resources_pb2.INVALID_MODEL, False),
        ("options", {}, resources_pb2.INVALID_JOB, False),
        ("ok", {"runtime": "abacus"}, resources_pb2.INVALID_JOB, False),
        ("ok", {"repetitions": -1}, resources_pb2.INVALID_JOB, False),
        ("hang", {"timeout": duration_pb2.Duration(nanos=500_000_000)}, resources_pb2.TIMEOUT, False),
    ],
)
def test_failure_says_why_and_whether_to_try_again(handler, tmp_path, name, options, reason, retryable):
    run = Run(model(tmp_path, name), resources_pb2.MeasureOptions(**options))
    with pytest.raises(TaskFailed) as failure:
        handler.handle(run)
    assert (failure.value.reason, failure.value.retryable) == (reason, retryable)
    assert not failure.value.infeasible


def test_missing_directory_may_be_seen_by_another_worker(handler, tmp_path):
    with pytest.raises(TaskFailed, match="is no directory on this machine") as failure:
        handler.handle(Run(tmp_path / "gone"))
    assert failure.value.reason == resources_pb2.INVALID_MODEL
    assert failure.value.retryable


def test_stopped_run_gives_the_task_back(handler, tmp_path):
    with pytest.raises(TaskStopped):
        handler.handle(Run(model(tmp_path, "hang"), should_stop=True))


def test_empty_options_mean_the_documented_defaults():
    request = convert.request_from_proto("dir", resources_pb2.MeasureOptions())
    assert request.runtime == "tensorflow"
    assert request.inputs == InputOptions(None, None, None)
    assert request.repetitions == 100
    assert request.timeout_seconds == 300


def test_options_survive_the_way_from_the_proto():
    options = resources_pb2.MeasureOptions(
        runtime="tensorflow",
        batch_size=2,
        image_width=64,
        image_height=32,
        repetitions=7,
        timeout=duration_pb2.Duration(seconds=1, nanos=500_000_000),
    )
    request = convert.request_from_proto("dir", options)
    assert request.inputs == InputOptions(batch_size=2, image_height=32, image_width=64)
    assert (request.repetitions, request.timeout_seconds) == (7, 1.5)


def test_service_never_imports_tensorflow():
    program = (
        "import sys, nas_latency.main, nas_latency.handler, nas_latency.service\n"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
