"""`nas.v1.LatencyService` over a real channel, with a stand-in for the process that measures."""

import asyncio
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from nas.v1 import latency_service_pb2, latency_service_pb2_grpc, resources_pb2

from nas_latency import service
from nas_latency.calculator import Calculator
from nas_shared.rpc import connect

FAKE_PROBE = Path(__file__).parents[1] / "unit" / "latency_calculator" / "fake_probe.py"


@pytest.fixture
def serve(tmp_path):
    """Starts the service, with a token or without; returns its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers = []

    def start(token=None):
        calculator = Calculator(lock_dir=str(tmp_path), probe_command=[sys.executable, str(FAKE_PROBE)])

        async def build():
            server = service.build("127.0.0.1:0", calculator, token)
            await server.start()
            return server

        servers.append(asyncio.run_coroutine_threadsafe(build(), loop).result())
        return f"127.0.0.1:{servers[-1].port}"

    yield start
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def stub(serve):
    with connect(serve()) as channel:
        yield latency_service_pb2_grpc.LatencyServiceStub(channel)


@pytest.fixture
def request_for(tmp_path):
    def make(name, **options):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
        return latency_service_pb2.MeasureLatencyRequest(
            saved_model_dir=str(tmp_path / name), options=resources_pb2.MeasureOptions(**options)
        )

    return make


def test_measurement_arrives_with_every_field(stub, request_for):
    answer = stub.MeasureLatency(request_for("ok"), timeout=30)
    assert answer == latency_service_pb2.LatencyMeasurement(
        device_type="CPU",
        runtime="tensorflow",
        count=100,
        latency_p50_ms=1.5,
        latency_p90_ms=2.5,
        latency_mean_ms=1.75,
        latency_std_ms=0.5,
        latency_min_ms=1.25,
        warmup_count=10,
        memory_bytes=123_456_789_012,
        load_ms=40.5,
        first_inference_ms=20.25,
        batch_size=1,
    )


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("unusable", {}, "INVALID_ARGUMENT", "found no signature"),
        ("options", {}, "INVALID_ARGUMENT", "image_height: not given"),
        ("ok", {"runtime": "abacus"}, "INVALID_ARGUMENT", "runtime: found 'abacus'"),
        ("ok", {"repetitions": -5}, "INVALID_ARGUMENT", "repetitions: found -5"),
        ("segfault", {}, "INTERNAL", "killed by SIGSEGV"),
        ("out_of_memory", {}, "RESOURCE_EXHAUSTED", "OOM when allocating"),
        (
            "hang",
            {"timeout": duration_pb2.Duration(nanos=500_000_000)},
            "DEADLINE_EXCEEDED",
            "took longer than 0.5 s",
        ),
    ],
)
def test_failure_has_a_status_and_a_message(stub, request_for, name, options, code, message):
    with pytest.raises(grpc.RpcError) as error:
        stub.MeasureLatency(request_for(name, **options), timeout=30)
    assert error.value.code().name == code
    assert message in error.value.details()


def test_missing_directory_names_the_field(stub, tmp_path):
    request = latency_service_pb2.MeasureLatencyRequest(saved_model_dir=str(tmp_path / "gone"))
    with pytest.raises(grpc.RpcError) as error:
        stub.MeasureLatency(request, timeout=30)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details().startswith("saved_model_dir:")
    with pytest.raises(grpc.RpcError) as error:
        stub.MeasureLatency(latency_service_pb2.MeasureLatencyRequest(), timeout=30)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details().startswith("saved_model_dir:")


def test_caller_that_hangs_up_frees_the_device(stub, request_for, tmp_path):
    call = stub.MeasureLatency.future(request_for("hang"))
    deadline = time.monotonic() + 20
    while not (tmp_path / "log.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    call.cancel()
    start = time.monotonic()
    assert stub.MeasureLatency(request_for("ok"), timeout=30).count == 100
    assert time.monotonic() - start < 10


def test_callers_at_once_are_served_one_after_the_other(stub, request_for, tmp_path):
    request = request_for("slow")
    calls = [stub.MeasureLatency.future(request, timeout=60) for _ in range(4)]
    assert all(call.result().count == 100 for call in calls)
    words = [line.split()[0] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert words == ["start", "end"] * 4


def test_health_and_reflection_know_the_service(serve):
    with connect(serve()) as channel:
        check = health_pb2.HealthCheckRequest(service="nas.v1.LatencyService")
        status = health_pb2_grpc.HealthStub(channel).Check(check, timeout=10).status
        assert status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
        names = {found.name for found in next(answers).list_services_response.service}
        assert "nas.v1.LatencyService" in names


def test_token_is_asked_for_where_one_is_set(serve, request_for):
    address = serve(token="secret")
    request = request_for("ok")
    with connect(address) as channel, pytest.raises(grpc.RpcError) as error:
        latency_service_pb2_grpc.LatencyServiceStub(channel).MeasureLatency(request, timeout=30)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with connect(address, "secret") as channel:
        answer = latency_service_pb2_grpc.LatencyServiceStub(channel).MeasureLatency(request, timeout=30)
    assert answer.count == 100
