"""Where past embedded searches lie, so that `--job_id` alone finds them again.

A file of this user, `${XDG_STATE_HOME:-~/.local/state}/nas/searches.json`: job id -> root_output_dir. It is a
convenience: a search works without it, and a lost entry is replaced by --root_output_dir.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas_shared.blobs import write_atomically

_KEPT = 1000


def path() -> Path:
    """The file; it need not exist."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state and Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "nas" / "searches.json"


def remember(job_id: str, root: Path) -> None:
    """Notes that the search lies under `root`. A file that cannot be written is no reason to fail."""
    try:
        with _locked():
            searches = _read()
            # Newest last, so that the oldest fall out first.
            searches.pop(job_id, None)
            searches[job_id] = str(root)
            kept = dict(list(searches.items())[-_KEPT:])
            write_atomically(path(), (json.dumps(kept, indent=2) + "\n").encode())
    except OSError:
        pass


def find(job_id: str) -> Path | None:
    """Root directory of the search, or None when it is unknown or gone."""
    root = _read().get(job_id)
    return Path(root) if root and (Path(root) / "nas.db").exists() else None


def _read() -> dict[str, str]:
    try:
        searches = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(searches, dict):
        return {}
    return {str(key): str(value) for key, value in searches.items()}


@contextmanager
def _locked() -> Iterator[None]:
    """Two searches that start at once both find their place in the file."""
    path().parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path().with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
