"""Small, named errors of the domain, and how each travels as a gRPC status.

The reason of an error rides in a `google.rpc.ErrorInfo` in the trailing metadata
(`grpc-status-details-bin`), so that callers can tell errors of one status code apart.
"""

from typing import NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

ERROR_DOMAIN = "nas.v1"
DETAILS_KEY = "grpc-status-details-bin"


class DomainError(Exception):
    """Base of the errors a caller may see; the message names the resource, found and expected."""

    status = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"


class InvalidArgument(DomainError):
    """The request is wrong and stays wrong: correct it before calling again."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"


class NotFound(DomainError):
    """There is no such resource; repeating the call does not help."""

    status = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class FailedPrecondition(DomainError):
    """The resource is in a state that forbids this; look at it before trying again."""

    status = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class LeaseLost(FailedPrecondition):
    """The token no longer owns the task: the worker drops its work and claims anew."""

    reason = "LEASE_LOST"


class Unavailable(DomainError):
    """Storage or a peer is down; the same call may be repeated later."""

    status = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


async def abort_with(context: grpc.aio.ServicerContext, error: DomainError) -> NoReturn:
    """Ends the handler of `context` with the status, reason and message of `error`."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    detail = any_pb2.Any()
    detail.Pack(info)
    code: int = error.status.value[0]
    status = status_pb2.Status(code=code, message=str(error), details=[detail])
    await context.abort(
        error.status,
        str(error),
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
