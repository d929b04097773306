"""Stands between a runner and a program, so that the program never outlives the runner.

    python guard.py [LAST WILL …] -- COMMAND …

Runs COMMAND and says in one line of standard output how it ended: `exit CODE`, `signal NUMBER` or
`error TEXT` when it could not be started. Output of the command goes to this process's standard
error. Standard input stays open while the runner lives; when it closes, the last will is run (the
command that ends a container) and everything in this process group dies.

A signal for the parent's death (PR_SET_PDEATHSIG) alone would not do: it reaches the program, but
neither what the program started nor a container, which is no child of anybody here.

Runs without the project's packages: a program costs one small process more.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_LAST_WILL_SECONDS = 20


def main(arguments: list[str]) -> None:
    """Runs the command and tells of its end."""
    separator = arguments.index("--")
    last_will, command = arguments[:separator], arguments[separator + 1 :]
    # Signals to the group are for the program. A handler, unlike SIG_IGN, is not inherited by it.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: None)
    libc = ctypes.CDLL(None)
    guard = os.getpid()

    def die_with_guard() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)

    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            stderr=2,
            preexec_fn=die_with_guard,  # noqa: PLW1509, there is one thread
        )
    except OSError as error:
        _say(f"error {error.strerror or error}")
        return
    except (ValueError, subprocess.SubprocessError) as error:
        _say(f"error {error}")
        return
    ended = os.pidfd_open(program.pid)
    poll = select.poll()
    poll.register(0, 0)  # POLLHUP is always reported.
    poll.register(ended, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if ended in ready:
            break
        if 0 in ready:
            _end_all(last_will)
    code = program.wait()
    _say(f"exit {code}" if code >= 0 else f"signal {-code}")


def _end_all(last_will: list[str]) -> None:
    if last_will:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                last_will,
                stdin=subprocess.DEVNULL,
                stdout=2,
                stderr=2,
                timeout=_LAST_WILL_SECONDS,
                check=False,
            )
    os.killpg(0, signal.SIGKILL)


def _say(line: str) -> None:
    os.write(1, line.encode(errors="replace") + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
