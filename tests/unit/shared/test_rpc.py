"""Channels and servers against each other on loopback: proof of identity, errors, retries."""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from nas.v1 import resources_pb2, search_service_pb2, search_service_pb2_grpc

from nas_shared import errors
from nas_shared.rpc import (
    ListenError,
    RetryPolicy,
    build_server,
    call_with_retries,
    connect,
    error_reason,
    is_transient,
    read_token,
    speaks_status,
)

sys.path.insert(0, str(Path(__file__).parent))

from fake_task_service import Serving

Code = grpc.StatusCode


class Searches(search_service_pb2_grpc.SearchServiceServicer):
    """Raises what the test puts in; answers otherwise."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    @speaks_status
    async def GetSearchJob(self, request, context):
        if self.error is not None:
            raise self.error
        return resources_pb2.SearchJob(name=request.name)

    @speaks_status
    async def WatchSearchJob(self, request, context):
        yield search_service_pb2.WatchSearchJobResponse()
        if self.error is not None:
            raise self.error


@pytest.fixture
def searches() -> Searches:
    return Searches()


@pytest.fixture
def serve(searches: Searches) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(token: str | None = None) -> Serving:
        def add(server: grpc.aio.Server) -> None:
            search_service_pb2_grpc.add_SearchServiceServicer_to_server(searches, server)

        started.append(Serving(add, ["nas.v1.SearchService"], token))
        return started[-1]

    yield start
    for serving in started:
        serving.close()


def get(channel: grpc.Channel, name: str = "searchJobs/1"):
    stub = search_service_pb2_grpc.SearchServiceStub(channel)
    return stub.GetSearchJob(search_service_pb2.GetSearchJobRequest(name=name), timeout=10)


def watch(channel: grpc.Channel) -> list:
    stub = search_service_pb2_grpc.SearchServiceStub(channel)
    return list(stub.WatchSearchJob(search_service_pb2.WatchSearchJobRequest(), timeout=10))


def refusal(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value


# Proof of identity


def test_the_right_token_opens_calls_and_streams(serve):
    with connect(serve("secret").target, "secret") as channel:
        assert get(channel).name == "searchJobs/1"
        assert len(watch(channel)) == 1


@pytest.mark.parametrize("token", [None, "wrong", "secre", "secret2", "Bearer"])
@pytest.mark.parametrize("call", [get, watch])
def test_a_wrong_token_or_none_is_refused(serve, token, call):
    with connect(serve("secret").target, token) as channel:
        error = refusal(lambda: call(channel))
    assert error.code() is Code.UNAUTHENTICATED
    assert "asks for a token" in error.details()
    assert "secret" not in error.details()


def test_health_is_open_without_a_token_and_reflection_is_not(serve):
    with connect(serve("secret").target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "nas.v1.SearchService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert refusal(lambda: reflected(channel)).code() is Code.UNAUTHENTICATED


def test_a_method_that_does_not_exist_is_refused_without_a_token_and_unimplemented_with_one(serve):
    target = serve("secret").target
    for token, code in ((None, Code.UNAUTHENTICATED), ("secret", Code.UNIMPLEMENTED)):
        with connect(target, token) as channel:
            call = channel.unary_unary("/nas.v1.SearchService/Nothing")
            assert refusal(lambda call=call: call(b"", timeout=10)).code() is code


def test_a_token_is_read_from_its_file_without_the_white_space_around_it(tmp_path):
    path = tmp_path / "token"
    path.write_text("\n secret-1.~ \n")
    assert read_token(str(path)) == "secret-1.~"
    assert read_token(None) is None
    assert read_token("") is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file"),
        (b" \n", "is empty"),
        (b"two words", "one token"),
        ("schlüssel".encode(), "visible ASCII"),
        (b"\xff\xfe", "visible ASCII"),
    ],
)
def test_a_token_file_that_holds_no_token_is_named(tmp_path, content, expected):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=expected) as error:
        read_token(str(path))
    assert f"--token_file={path}" in str(error.value)


# Where a server listens


async def build(listen: str, token: str | None = None) -> int:
    server = build_server(listen, [], token=token)
    try:
        return server.port
    finally:
        await server.grpc_server.stop(0)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"])
def test_an_address_other_machines_reach_needs_a_token(listen):
    with pytest.raises(ListenError, match="give --token_file") as error:
        asyncio.run(build(listen))
    assert f"--listen={listen}" in str(error.value)


def test_an_address_other_machines_reach_is_listened_on_with_a_token():
    assert asyncio.run(build("0.0.0.0:0", token="secret")) > 0


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "127.1.2.3:0"])
def test_loopback_needs_no_token_and_port_0_takes_a_free_one(listen):
    assert 0 < asyncio.run(build(listen)) <= 65535


@pytest.mark.parametrize(
    "listen",
    ["", "127.0.0.1", ":8470", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536", "h:x", "h:²"],
)
def test_a_malformed_address_is_named_with_what_was_expected(listen):
    with pytest.raises(ListenError, match="expected host:port") as error:
        asyncio.run(build(listen))
    assert f"--listen={listen}:" in str(error.value)


def test_an_address_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"--listen={listen}: cannot bind"):
            asyncio.run(build(listen))


def test_two_servers_never_share_a_port(serve):
    with pytest.raises(ListenError, match="cannot bind"):
        asyncio.run(build(serve().target))


# Errors and statuses


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.InvalidArgument, Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (errors.NotFound, Code.NOT_FOUND, "NOT_FOUND"),
        (errors.FailedPrecondition, Code.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
        (errors.LeaseLost, Code.FAILED_PRECONDITION, "LEASE_LOST"),
        (errors.Unavailable, Code.UNAVAILABLE, "UNAVAILABLE"),
        (errors.DomainError, Code.INTERNAL, "INTERNAL"),
    ],
)
@pytest.mark.parametrize("call", [get, watch])
def test_an_error_travels_as_its_status_with_reason_and_message(serve, searches, error, code, reason, call):
    searches.error = error("searchJobs/1: found “ü”\nexpected\tß")
    with connect(serve().target) as channel:
        found = refusal(lambda: call(channel))
    assert found.code() is code
    assert found.details() == "searchJobs/1: found “ü”\nexpected\tß"
    assert error_reason(found) == reason
    assert is_transient(found) == (code is Code.UNAVAILABLE)


@pytest.mark.parametrize("message", ["x" * 100_000, "ü" * 100_000, "€" * 100_000, "😀" * 100_000])
def test_a_message_longer_than_metadata_may_be_arrives_clipped_with_its_reason(serve, searches, message):
    searches.error = errors.LeaseLost(message)
    with connect(serve().target) as channel:
        found = refusal(lambda: get(channel))
    assert found.code() is Code.FAILED_PRECONDITION
    assert message.startswith(found.details())
    assert len(found.details()) > 300
    assert error_reason(found) == "LEASE_LOST"


def test_an_error_without_details_has_no_reason(serve, searches):
    searches.error = RuntimeError("a defect")
    with connect(serve().target) as channel:
        found = refusal(lambda: get(channel))
    assert found.code() is Code.UNKNOWN
    assert error_reason(found) == ""
    assert not is_transient(found)
    assert error_reason(grpc.RpcError()) == ""


def reflected(channel: grpc.Channel) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=10)
    return {service.name for service in answer.list_services_response.service}


def test_reflection_lists_the_services(serve):
    with connect(serve().target) as channel:
        assert reflected(channel) == {
            "nas.v1.SearchService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


def test_a_server_that_stops_tells_health_checks_before_it_is_gone(serve):
    async def story() -> list[int]:
        server = build_server("127.0.0.1:0", ["nas.v1.SearchService"])
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            statuses = []
            stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            statuses.append((await stream.read()).status)
            stopping = asyncio.create_task(server.stop(0.5))
            statuses.append((await stream.read()).status)
            stream.cancel()
            await stopping
        return statuses

    status = health_pb2.HealthCheckResponse
    assert asyncio.run(story()) == [status.SERVING, status.NOT_SERVING]


# Retries

QUICK = RetryPolicy(first_wait_seconds=0.001, max_wait_seconds=0.004, give_up_after_seconds=None)


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode):
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


class Failing:
    """A call that fails with the given codes, one after the other, before it answers."""

    def __init__(self, *codes: grpc.StatusCode):
        self._codes = list(codes)
        self.tries = 0

    def __call__(self) -> str:
        self.tries += 1
        if self._codes:
            raise Failure(self._codes.pop(0))
        return "answer"


def test_a_call_is_repeated_while_the_server_is_away():
    call = Failing(Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE)
    assert call_with_retries(call, QUICK) == "answer"
    assert call.tries == 4


@pytest.mark.parametrize(
    "code", [code for code in Code if code not in (Code.OK, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)]
)
def test_an_error_that_another_try_does_not_mend_is_raised_at_once(code):
    call = Failing(Code.UNAVAILABLE, code)
    assert refusal(lambda: call_with_retries(call, QUICK)).code() is code
    assert call.tries == 2


def test_after_its_patience_the_last_error_is_raised():
    call = Failing(*[Code.UNAVAILABLE] * 1000)
    policy = RetryPolicy(first_wait_seconds=0.001, max_wait_seconds=0.004, give_up_after_seconds=0.02)
    assert refusal(lambda: call_with_retries(call, policy)).code() is Code.UNAVAILABLE
    # Waits of at most 4 ms add up to 20 ms; the first two are shorter.
    assert 6 <= call.tries <= 20


def test_without_patience_a_call_is_made_once():
    call = Failing(Code.UNAVAILABLE)
    refusal(lambda: call_with_retries(call, RetryPolicy(give_up_after_seconds=0.0)))
    assert call.tries == 1


def test_waits_double_up_to_their_bound_with_half_of_them_left_to_chance(monkeypatch):
    waits = []
    event = threading.Event()
    monkeypatch.setattr(event, "wait", waits.append)
    call = Failing(*[Code.UNAVAILABLE] * 6)
    call_with_retries(call, RetryPolicy(0.1, 0.8, None), give_up=event)
    bounds = [0.1, 0.2, 0.4, 0.8, 0.8, 0.8]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) == 6


def test_giving_up_ends_the_wait_and_raises_the_error():
    event = threading.Event()
    call = Failing(*[Code.UNAVAILABLE] * 3)
    threading.Timer(0.05, event.set).start()
    assert refusal(lambda: call_with_retries(call, RetryPolicy(60.0, 60.0), give_up=event)).code() is (
        Code.UNAVAILABLE
    )
    assert call.tries == 2


def test_giving_up_before_the_call_still_makes_it_once():
    event = threading.Event()
    event.set()
    assert call_with_retries(Failing(), QUICK, give_up=event) == "answer"


def test_a_channel_finds_a_server_that_came_back_within_two_seconds(serve):
    serving = serve()
    with connect(serving.target) as channel:
        get(channel)
        serving.stop()
        assert refusal(lambda: get(channel)).code() is Code.UNAVAILABLE
        serving.start()
        policy = RetryPolicy(first_wait_seconds=0.05, max_wait_seconds=0.1, give_up_after_seconds=2.0)
        assert call_with_retries(lambda: get(channel), policy).name == "searchJobs/1"
