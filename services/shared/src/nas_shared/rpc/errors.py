"""How each named error travels as a gRPC status.

The reason of an error rides in a `google.rpc.ErrorInfo` in the trailing metadata
(`grpc-status-details-bin`), so that callers can tell errors of one status code apart.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from nas_shared.errors import (
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    LeaseLost,
    NotFound,
    Unavailable,
)

ERROR_DOMAIN = "nas.v1"
DETAILS_KEY = "grpc-status-details-bin"
# A message travels twice: percent-encoded, which makes one byte up to three, and in base64.
_MAX_MESSAGE_BYTES = 1500

_STATUS_OF = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    LeaseLost: grpc.StatusCode.FAILED_PRECONDITION,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}


Method = TypeVar("Method", bound=Callable[..., Any])


def speaks_status(method: Method) -> Method:
    """Decorates a handler of a service: the named errors it raises become gRPC statuses."""
    if inspect.isasyncgenfunction(method):

        @functools.wraps(method)
        async def stream(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                async for answer in method(self, request, context):
                    yield answer
            except DomainError as error:
                await abort_with(context, error)

        return stream  # type: ignore[return-value]

    @functools.wraps(method)
    async def unary(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(self, request, context)
        except DomainError as error:
            await abort_with(context, error)

    return unary  # type: ignore[return-value]


async def abort_with(context: grpc.aio.ServicerContext, error: DomainError) -> NoReturn:
    """Ends the handler of `context` with the status, reason and message of `error`.

    A message rides in the trailing metadata, which peers cut off at 8 KiB: a longer one is clipped.
    """
    message = str(error).encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore")
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    detail = any_pb2.Any()
    detail.Pack(info)
    status_code = _STATUS_OF.get(type(error), grpc.StatusCode.INTERNAL)
    code: int = status_code.value[0]
    status = status_pb2.Status(code=code, message=message, details=[detail])
    await context.abort(
        status_code,
        message,
        trailing_metadata=((DETAILS_KEY, status.SerializeToString()),),
    )
    raise AssertionError("context.abort returned")


def reason_of(error: grpc.RpcError) -> str:
    """The reason an `abort_with` of the server put in, or "" when the error carries none."""
    trailing = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailing or ():
        if key == DETAILS_KEY:
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                    return str(info.reason)
    return ""
