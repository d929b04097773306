"""Clients' side of gRPC: how a channel is opened and which errors are worth another try."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from nas_shared.rpc.auth import bearer_credentials_interceptors
from nas_shared.rpc.errors import reason_of as error_reason

__all__ = ["RetryPolicy", "call_with_retries", "connect", "error_reason", "is_transient"]

Answer = TypeVar("Answer")

_OPTIONS = (
    # Notice a dead peer behind a silent network; loopback never needs it but pays nothing.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A restarted orchestrator should be found again within a second, not within two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


def connect(target: str, token: str | None = None) -> grpc.Channel:
    """Opens a blocking channel to `target`; the connection is made with the first call.

    Args:
      target: `host:port`, or `https://host[:port]` for TLS with the system's roots.
      token: sent as `authorization: Bearer …` with every call.
    """
    if target.startswith("https://"):
        address = target.removeprefix("https://")
        if ":" not in address:
            address += ":443"
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options=_OPTIONS)
    else:
        channel = grpc.insecure_channel(target, options=_OPTIONS)
    if token:
        channel = grpc.intercept_channel(channel, *bearer_credentials_interceptors(token))
    return channel


def is_transient(error: grpc.RpcError) -> bool:
    """Whether the same call may succeed later: the server is away, restarting or overloaded."""
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with full jitter.

    Attributes:
      first_wait_seconds: upper bound of the first wait.
      max_wait_seconds: upper bound of every later one.
      give_up_after_seconds: total waiting before the last error is raised; None: never.
    """

    first_wait_seconds: float = 0.1
    max_wait_seconds: float = 2.0
    give_up_after_seconds: float | None = 60.0


def call_with_retries(
    call: Callable[[], Answer],
    policy: RetryPolicy,
    give_up: threading.Event | None = None,
) -> Answer:
    """Calls until the answer is no transient error.

    Args:
      call: one attempt; must be idempotent.
      policy: how long to wait between attempts and in all.
      give_up: when set, the next transient error is raised at once.
    Raises:
      grpc.RpcError: the first error that is not transient, or the last one when time is up.
    """
    stop = give_up or threading.Event()
    bound, waited = policy.first_wait_seconds, 0.0
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            patience = policy.give_up_after_seconds
            if not is_transient(error) or stop.is_set():
                raise
            if patience is not None and waited >= patience:
                raise
        wait = random.uniform(bound / 2, bound)
        stop.wait(wait)
        waited += wait
        bound = min(bound * 2, policy.max_wait_seconds)
