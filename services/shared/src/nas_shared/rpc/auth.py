"""Proof of identity: a bearer token in the metadata of every call."""

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio

_KEY = "authorization"
# Health checks come from kubelets and load balancers, which carry no token.
_OPEN_PREFIXES = ("/grpc.health.v1.Health/",)


def read_token(path: str | None) -> str | None:
    """The token in the file at `path`, without white space around it; None for no path.

    Raises:
      ValueError: if the file cannot be read, is empty, or holds what no token is made of.
    """
    if not path:
        return None
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"--token_file={path}: {error.strerror}") from error
    if not token:
        raise ValueError(f"--token_file={path} is empty; expected a token in it")
    # Metadata of gRPC can carry nothing else.
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise ValueError(f"--token_file={path}: expected one token of visible ASCII characters")
    return token.decode()


class _CallDetails(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _BearerInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, token: str):
        self._entry = (_KEY, f"Bearer {token}")

    def _with_token(self, details: Any) -> _CallDetails:
        return _CallDetails(
            details.method,
            details.timeout,
            [*(details.metadata or ()), self._entry],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)


def bearer_credentials_interceptors(token: str) -> tuple[_BearerInterceptor]:
    """Interceptors that put `token` into every call of a blocking channel."""
    return (_BearerInterceptor(token),)


class TokenRequired(grpc.aio.ServerInterceptor):
    """Refuses every call without the right bearer token, with UNAUTHENTICATED."""

    def __init__(self, token: str):
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())
        found = metadata.get(_KEY, "")
        found_bytes = found if isinstance(found, bytes) else str(found).encode()
        if method.startswith(_OPEN_PREFIXES) or hmac.compare_digest(found_bytes, self._expected):
            return await continuation(handler_call_details)

        async def refuse(request: Any, context: grpc.aio.ServicerContext) -> Any:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "this server asks for a token: send it as 'authorization: Bearer …' metadata",
            )

        handler = await continuation(handler_call_details)
        if handler is not None and handler.response_streaming:

            async def refuse_stream(request: Any, context: grpc.aio.ServicerContext) -> Any:
                await refuse(request, context)
                yield

            return grpc.unary_stream_rpc_method_handler(refuse_stream)
        return grpc.unary_unary_rpc_method_handler(refuse)
