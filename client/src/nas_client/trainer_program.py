"""`prepare_data` and `check_data`: programs of the trainer, in processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from nas_shared.cli import CommandError


def run(name: str, arguments: Sequence[str]) -> int:
    """Runs `nas_trainer.{name}` with the arguments as they stand; returns its exit code.

    Raises:
      CommandError: if there is no such program.
    """
    python = os.environ.get("NAS_TRAINER_PYTHON") or sys.executable
    try:
        child = subprocess.Popen([python, "-m", f"nas_trainer.{name}", *arguments])
    except OSError as error:
        raise CommandError(f"{python} cannot be started: {error.strerror}") from error
    # Ctrl-C reaches the child by itself; either way it cleans up and says so, and this process waits for it.
    previous_interrupt = signal.signal(signal.SIGINT, lambda number, frame: None)
    previous_terminate = signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, previous_interrupt)
        signal.signal(signal.SIGTERM, previous_terminate)
    return 128 - code if code < 0 else code
