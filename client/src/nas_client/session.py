"""The orchestrator a command talks to: the one at --endpoint, or one that lives as long as the command."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas_client.client import SearchClient
from nas_client.embedded import Directory, Stack
from nas_client.flags import Values
from nas_shared.cli import UsageError
from nas_shared.rpc import read_token

# Somebody typed the endpoint and waits for an answer.
_REMOTE_PATIENCE_SECONDS = 10.0
# A restart of the embedded orchestrator takes less, also on a busy machine.
_RESTART_SECONDS = 60.0


@dataclass(frozen=True)
class Session:
    """A connected client.

    Attributes:
      stack: the embedded stack; None when the orchestrator is somebody else's.
      root: directory of the embedded stack.
    """

    client: SearchClient
    stack: Stack | None = None
    root: Path | None = None


@contextmanager
def remote(values: Values) -> Iterator[Session]:
    """The orchestrator at --endpoint.

    Raises:
      UsageError: for a malformed endpoint or an unreadable token file.
    """
    endpoint = values["endpoint"]
    _check_endpoint(endpoint)
    try:
        token = read_token(values["token_file"])
    except ValueError as error:
        raise UsageError(str(error)) from error
    with SearchClient(endpoint, token=token, patience_seconds=_REMOTE_PATIENCE_SECONDS) as client:
        yield Session(client)


@contextmanager
def embedded(root: Path, *, lease_seconds: float | None = None, debug: bool = False) -> Iterator[Session]:
    """An orchestrator of the command's own in `root`; workers are started by whoever needs them.

    Raises:
      UsageError: for a lease that is too short or too long.
      CommandError: if another command is at work there, or the orchestrator cannot start or write.
    """
    if lease_seconds is not None and not 1 <= lease_seconds <= 86_400:
        raise UsageError(f"--lease_seconds: found {lease_seconds:g}, expected 1 to 86400")
    directory = Directory(root)
    with Stack(directory, lease_seconds=lease_seconds, debug=debug) as stack:
        stack.start_orchestrator()
        with SearchClient(stack.endpoint, patience_seconds=_RESTART_SECONDS) as client:
            yield Session(client, stack, directory.root)


def _check_endpoint(endpoint: str) -> None:
    host, _, port = endpoint.removeprefix("https://").rpartition(":")
    if endpoint.startswith("https://") and not host:
        return
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or "//" in host:
        raise UsageError(f"--endpoint: found {endpoint!r}, expected host:port or https://host[:port]")
