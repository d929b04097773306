"""The container engine of this machine: docker or podman, whichever answers."""

import shutil
import subprocess
from dataclasses import dataclass

from nas_shared.cli import CommandError

ENGINES = ("docker", "podman")
_ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Engine:
    """An engine that runs.

    Attributes:
      name: `docker` or `podman`.
      path: its command.
    """

    name: str
    path: str


def find_engine(name: str = "") -> Engine:
    """The engine called `name`, or the first that answers.

    Raises:
      CommandError: none is installed, or none runs; says which.
    """
    silent = []
    for candidate in (name,) if name else ENGINES:
        path = shutil.which(candidate)
        if path is None:
            continue
        try:
            answer = subprocess.run(
                [path, "info"], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            silent.append(f"{candidate} ({error})")
            continue
        if answer.returncode == 0:
            return Engine(candidate, path)
        lines = answer.stderr.strip().splitlines() or ["no answer"]
        silent.append(f"{candidate} ({lines[-1]})")
    if silent:
        raise CommandError(
            f"no container engine runs: found {', '.join(silent)}; start it, or run without containers"
        )
    wanted = name or " or ".join(ENGINES)
    raise CommandError(f"no container engine is installed: found no {wanted}; install one, or run without")
