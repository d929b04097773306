"""Servers' side of gRPC: one way to build an asyncio server with health, reflection and proof of identity."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from nas_shared.rpc.auth import TokenRequired

_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    # Two servers must never share a port without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class ListenError(Exception):
    """The server cannot listen where it was told to; the message names the address and why."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass
class Server:
    """A gRPC server that has not started yet, and the port it is bound to."""

    grpc_server: grpc.aio.Server
    health: health.aio.HealthServicer
    service_names: Sequence[str]
    port: int

    async def start(self) -> None:
        """Serves, and tells health checks so."""
        await self.grpc_server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Turns new calls away and waits up to `grace_seconds` for those under way."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self.grpc_server.stop(grace_seconds)

    async def _set_health(self, status: int) -> None:
        for name in ("", *self.service_names):
            await self.health.set(name, status)


def build_server(
    listen: str,
    service_names: Sequence[str],
    *,
    token: str | None = None,
) -> Server:
    """Builds a server bound to `listen`, with health and reflection in it.

    Args:
      listen: `host:port`; port 0 takes a free one.
      service_names: full names of the services the caller adds.
      token: when given, every call but a health check must carry it.
    Raises:
      ListenError: if the address is malformed, taken, or reachable from other machines while no
        token is asked for.
    """
    host, separator, port_text = listen.rpartition(":")
    if not separator or not host or not port_text.isdecimal() or int(port_text) > 65535:
        raise ListenError(f"--listen={listen}: expected host:port, e.g. 127.0.0.1:8470")
    if not is_loopback(host) and not token:
        raise ListenError(
            f"--listen={listen} can be reached from other machines: give --token_file, or listen on 127.0.0.1"
        )
    interceptors = [TokenRequired(token)] if token else []
    server = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        [*service_names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME],
        server,
    )
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ListenError(f"--listen={listen}: cannot bind ({error})") from error
    return Server(server, health_servicer, service_names, port)
