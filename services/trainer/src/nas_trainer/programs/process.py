"""A program as a local process: started under a guard, watched, stopped."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_GUARD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")))
_GUARD_EXIT_SECONDS = 5.0


@dataclass(frozen=True)
class Ending:
    """How a program ended; exactly one of the three is set.

    Attributes:
        exit_code: what it returned.
        signal: number of the signal that killed it.
        start_error: why it could not be started at all.
    """

    exit_code: int | None = None
    signal: int | None = None
    start_error: str | None = None


class Execution(Protocol):
    """A running program. A context manager: nothing of the program is alive after it."""

    def __enter__(self) -> "Execution": ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, seconds: float) -> Ending | None:
        """Waits up to `seconds` for the end; None while the program runs."""

    def stop(self, grace_seconds: float) -> None:
        """Asks the program to end (SIGTERM) and ends it (SIGKILL) after `grace_seconds`."""


class LocalProcess:
    """A command in a session of its own, with what it prints in a file.

    Everything it starts belongs to its process group and dies with it, unless it makes itself a
    session. The guard sees to it when this process is killed.

    Args:
        command: program and arguments.
        environment: all of its environment.
        log_path: output is appended here; the directory exists.
        last_will: command the guard runs before it ends all, when this process is gone.
    Raises:
        OSError: if the log cannot be opened or no process can be made.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_path: Path,
        last_will: Sequence[str] = (),
    ):
        with log_path.open("ab") as log_file:
            self._guard = subprocess.Popen(
                [*_GUARD, *last_will, "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env=dict(environment),
                start_new_session=True,
            )
        self._said = b""

    def __enter__(self) -> "LocalProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()
        self._guard.wait(_GUARD_EXIT_SECONDS)

    def wait(self, seconds: float) -> Ending | None:
        """See `Execution.wait`."""
        assert self._guard.stdout is not None
        channel = self._guard.stdout.fileno()
        deadline = time.monotonic() + seconds
        while not self._said.endswith(b"\n"):
            if not select.select([channel], [], [], max(deadline - time.monotonic(), 0))[0]:
                return None
            chunk = os.read(channel, 4096)
            if not chunk:
                # Without a word: something has killed the guard, and with it the program.
                return Ending(signal=signal.SIGKILL)
            self._said += chunk
        what, _, text = self._said.decode().strip().partition(" ")
        match what:
            case "exit":
                return Ending(exit_code=int(text))
            case "signal":
                return Ending(signal=int(text))
            case _:
                return Ending(start_error=text)

    def stop(self, grace_seconds: float) -> None:
        """See `Execution.stop`."""
        if grace_seconds > 0:
            self._signal(signal.SIGTERM)
            self.wait(grace_seconds)
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        # The guard, living or not yet waited for, keeps its number from being given to another.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signum)
