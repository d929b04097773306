"""Small, named errors that callers of the suite may see."""


class DomainError(Exception):
    """Base of the errors a caller may see; the message names the resource, found and expected."""

    reason = "INTERNAL"


class InvalidArgument(DomainError):
    """The request is wrong and stays wrong: correct it before calling again."""

    reason = "INVALID_ARGUMENT"


class NotFound(DomainError):
    """There is no such resource; repeating the call does not help."""

    reason = "NOT_FOUND"


class FailedPrecondition(DomainError):
    """The resource is in a state that forbids this; look at it before trying again."""

    reason = "FAILED_PRECONDITION"


class LeaseLost(FailedPrecondition):
    """The token no longer owns the task: the worker drops its work and claims anew."""

    reason = "LEASE_LOST"


class Unavailable(DomainError):
    """Storage or a peer is down; the same call may be repeated later."""

    reason = "UNAVAILABLE"
