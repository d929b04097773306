"""Channels, servers, credentials, and the one place where errors meet status codes."""

from nas_shared.rpc.auth import read_token
from nas_shared.rpc.channel import RetryPolicy, call_with_retries, connect, error_reason, is_transient
from nas_shared.rpc.errors import abort_with, speaks_status
from nas_shared.rpc.server import ListenError, Server, build_server

__all__ = [
    "ListenError",
    "RetryPolicy",
    "Server",
    "abort_with",
    "build_server",
    "call_with_retries",
    "connect",
    "error_reason",
    "is_transient",
    "read_token",
    "speaks_status",
]
