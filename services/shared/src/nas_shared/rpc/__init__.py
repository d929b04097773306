"""Channels, servers, credentials, and the one place where errors meet status codes."""

from nas_shared.rpc.channel import RetryPolicy, call_with_retries, connect, error_reason, is_transient
from nas_shared.rpc.errors import (
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    LeaseLost,
    NotFound,
    Unavailable,
    abort_with,
)
from nas_shared.rpc.server import ListenError, Server, build_server

__all__ = [
    "DomainError",
    "FailedPrecondition",
    "InvalidArgument",
    "LeaseLost",
    "ListenError",
    "NotFound",
    "RetryPolicy",
    "Server",
    "Unavailable",
    "abort_with",
    "build_server",
    "call_with_retries",
    "connect",
    "error_reason",
    "is_transient",
]
