"""What a user's program says with `nas_client.trial`, and what it is told."""

import json
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pyglove as pg
import pytest
from nas.v1 import latency_service_pb2, latency_service_pb2_grpc

from nas_client import trial
from nas_client.trial import TrialError

VARIABLES = ("TRIAL_ID", "HP_METRIC_TAG", "HP_METRIC_FILE")


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    for name in (*(f"CLOUD_ML_{name}" for name in VARIABLES), "AIP_MODEL_DIR", "NAS_LATENCY_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def metric_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "7")
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_TAG", "top_1_accuracy")
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(path))
    return path


def test_a_report_is_one_line_with_the_keys_of_the_contract_and_all_values_strings(metric_file):
    trial.report(0.5, step=1)
    trial.report(0.71, step=2, checkpoint_path="/c", model_flops=31e6, other_metrics={"loss": 0.9, "f1": 1})
    first, second = [json.loads(line) for line in metric_file.read_text().splitlines()]
    assert all(isinstance(value, str) for value in second.values())
    assert float(second.pop("timestamp")) >= float(first.pop("timestamp"))
    assert first == {"trial": "7", "top_1_accuracy": "0.5", "global_step": "1", "checkpoint_path": ""}
    assert second == {
        "trial": "7",
        "top_1_accuracy": "0.71",
        "global_step": "2",
        "checkpoint_path": "/c",
        "model_flops": "31000000.0",
        "key_0": "loss",
        "value_0": "0.9",
        "key_1": "f1",
        "value_1": "1.0",
    }


def test_six_other_metrics_or_the_metric_twice_are_refused_and_nothing_is_written(metric_file):
    with pytest.raises(ValueError, match="found 6; expected at most 5"):
        trial.report(0.5, step=1, other_metrics={f"m{index}": 0.0 for index in range(6)})
    with pytest.raises(ValueError, match="top_1_accuracy"):
        trial.report(0.5, step=1, other_metrics={"top_1_accuracy": 0.0})
    assert not metric_file.exists()


def test_a_program_run_by_hand_prints_its_reports(capsys):
    trial.report(0.5, step=1)
    assert json.loads(capsys.readouterr().out)["metric"] == "0.5"
    assert trial.trial_id() == 0


def test_the_model_directory_is_the_runners_or_an_error_that_names_the_variable(monkeypatch):
    with pytest.raises(TrialError, match="AIP_MODEL_DIR is not set"):
        trial.model_dir()
    monkeypatch.setenv("AIP_MODEL_DIR", "/m")
    assert trial.model_dir() == Path("/m")


def test_the_architecture_is_read_from_json_or_from_a_file(tmp_path, monkeypatch):
    path = tmp_path / "nas_params_str.json"
    path.write_text('{"a": "1/2 (5)"}')
    expected = {"a": "1/2 (5)"}
    assert trial.nas_params(["--epochs=1", '--nas_params_str={"a": "1/2 (5)"}']) == expected
    assert trial.nas_params(["--nas_params_str", f"{path}"]) == expected
    monkeypatch.setattr(sys, "argv", ["train.py", f"--nas_params_str={path}"])
    assert trial.nas_params() == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--nas_params_str: missing"),
        (["--nas_params_str={"], "found '{'; expected JSON"),
        (["--nas_params_str=[1]"], "expected a JSON object"),
        (["--nas_params_str=/no/such.json"], "/no/such.json: No such file"),
    ],
)
def test_an_architecture_that_cannot_be_read_is_an_error_with_what_was_found(arguments, words):
    with pytest.raises(TrialError, match=words):
        trial.nas_params(arguments)


@pytest.mark.parametrize("make", [dict, pg.Dict])
def test_materialize_gives_the_object_that_the_decisions_describe(make):
    space = make(units=pg.oneof([8, 16]), layers=pg.oneof([1, 2]))
    found = trial.materialize(space, ['--nas_params_str={"units": "1/2 (16)", "layers": "0/2 (1)"}'])
    assert (found.units, found.layers) == (16, 1)


def test_decisions_of_another_space_are_an_error():
    with pytest.raises(TrialError, match="does not fit the search space"):
        trial.materialize(pg.Dict(units=pg.oneof([8, 16])), ['--nas_params_str={"other": "0/2 (8)"}'])


def test_the_file_works_alone_with_nothing_but_the_standard_library(tmp_path):
    file = tmp_path / "trial.py"
    file.write_text(Path(trial.__file__).read_text())
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import trial; trial.report(0.5, step=1)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["metric"] == "0.5", done.stderr


class Calculator(latency_service_pb2_grpc.LatencyServiceServicer):
    def MeasureLatency(self, request, context):
        self.request = request
        if not request.saved_model_dir.endswith("model"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no SavedModel there")
        return latency_service_pb2.LatencyMeasurement(
            device_type="CPU", runtime="tensorflow", count=50, latency_p50_ms=1.5, memory_bytes=10**10
        )


@pytest.fixture
def calculator(monkeypatch):
    servicer, server = Calculator(), grpc.server(futures.ThreadPoolExecutor(2))
    latency_service_pb2_grpc.add_LatencyServiceServicer_to_server(servicer, server)
    monkeypatch.setenv("NAS_LATENCY_ENDPOINT", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield servicer
    server.stop(0)


def test_a_latency_is_asked_for_with_its_options(calculator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measured = trial.measure_latency("model", image_width=32, repetitions=50, timeout_seconds=1.5)
    assert (measured.latency_p50_ms, measured.memory_bytes, measured.count) == (1.5, 10**10, 50)
    request = calculator.request
    assert request.saved_model_dir == f"{tmp_path}/model"
    assert (request.options.image_width, request.options.repetitions) == (32, 50)
    assert request.options.timeout.ToTimedelta().total_seconds() == 1.5


def test_a_latency_that_cannot_be_had_says_why(calculator, monkeypatch):
    with pytest.raises(TrialError, match="INVALID_ARGUMENT: no SavedModel there"):
        trial.measure_latency("/elsewhere")
    monkeypatch.setenv("NAS_LATENCY_ENDPOINT", "127.0.0.1:1")
    with pytest.raises(TrialError, match="NAS_LATENCY_ENDPOINT=127.0.0.1:1: UNAVAILABLE"):
        trial.measure_latency("/m/model")
    monkeypatch.delenv("NAS_LATENCY_ENDPOINT")
    with pytest.raises(TrialError, match="NAS_LATENCY_ENDPOINT is not set; expected the host:port"):
        trial.measure_latency("/m/model")
