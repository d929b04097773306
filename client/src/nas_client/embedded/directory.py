"""The directory an embedded search lives in: its database, its logs, and who is at work in it.

<root_output_dir>/nas.db          jobs, trials, tasks
                  logs/*.log      output of every child process
                  stack.json      process ids and endpoint, while a stack runs
                  stack.lock      held by the one command at work here
                  <job_name>_<YYYYmmdd_HHMMSS>/…   files of the searches
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_shared.blobs import write_atomically
from nas_shared.cli import CommandError

# A child that lost its parent has ended by then (nas_shared.cli.exit_with_parent).
_ORPHANS_SECONDS = 12.0


class DirectoryBusy(CommandError):
    """Another command is at work in the directory; wait for it, or talk to its endpoint.

    Attributes:
      endpoint: of the stack that runs there, as far as it is known.
    """

    def __init__(self, message: str, endpoint: str):
        super().__init__(message)
        self.endpoint = endpoint


class Directory:
    """Root of an embedded search. `claim` it before starting anything in it, `release` it at the end."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser().absolute()
        self._lock: int | None = None

    @property
    def database(self) -> Path:
        return self.root / "nas.db"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def port_file(self) -> Path:
        return self.root / "orchestrator.port"

    @property
    def _stack_file(self) -> Path:
        return self.root / "stack.json"

    def claim(self) -> None:
        """Makes the directory and takes its lock, which the kernel gives back however this process ends.

        Raises:
          DirectoryBusy: if another command holds it.
          CommandError: if the directory cannot be made or written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / "stack.lock", os.O_RDWR | os.O_CREAT, 0o644)
            # The database's own files are made beside it: the directory must be writable, not only its files.
            write_atomically(self.logs / ".writable", b"")
            (self.logs / ".writable").unlink()
        except OSError as error:
            raise CommandError(
                f"--root_output_dir={self.root}: cannot write there ({error.strerror}: {error.filename}); "
                "expected a directory that can be made and written"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            stack = self.running_stack()
            endpoint = str(stack.get("endpoint") or "")
            pid = stack.get("client_pid", "unknown")
            talk = f", or talk to it with --endpoint={endpoint}" if endpoint else ""
            raise DirectoryBusy(
                f"--root_output_dir={self.root}: another command (process {pid}) is at work there; "
                f"wait for it, take another directory{talk}",
                endpoint,
            ) from None
        self._lock = lock
        self._wait_for_orphans()

    def release(self) -> None:
        """Gives the lock back; nothing may run in the directory any more."""
        if self._lock is not None:
            self._stack_file.unlink(missing_ok=True)
            self.port_file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def running_stack(self) -> Mapping[str, Any]:
        """What stack.json says: `client_pid`, `endpoint`, `processes`; empty without one."""
        try:
            stack = json.loads(self._stack_file.read_text())
        except (OSError, ValueError):
            return {}
        return stack if isinstance(stack, dict) else {}

    def write_stack(self, stack: Mapping[str, Any]) -> None:
        """Replaces stack.json in one step."""
        write_atomically(self._stack_file, (json.dumps(stack, indent=2) + "\n").encode())

    def _wait_for_orphans(self) -> None:
        """Waits for the children of a command that was killed: they are ending, but may still write."""
        processes = self.running_stack().get("processes", {})
        pids = [entry.get("pid") for entry in processes.values() if isinstance(entry, dict)]
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while any(pid and _is_alive(int(pid)) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's process: the id was given away since.
        return False
    return True
