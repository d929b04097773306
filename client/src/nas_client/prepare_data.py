"""`prepare_data`: hands over to the trainer's program in a process of its own; this one stays small."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from nas_shared.cli import CommandError


def prepare_data(arguments: Sequence[str]) -> int:
    """Runs `nas_trainer.prepare_data` with the arguments as they stand; returns its exit code.

    Raises:
      CommandError: if there is no such program.
    """
    python = os.environ.get("NAS_TRAINER_PYTHON") or sys.executable
    try:
        child = subprocess.Popen([python, "-m", "nas_trainer.prepare_data", *arguments])
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
