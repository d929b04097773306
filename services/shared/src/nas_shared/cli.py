"""Habits that every command of the suite shares: exit codes, errors in one line, dying with a parent."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2


class UsageError(Exception):
    """The command line is wrong; the message names the flag, what was found and what was expected."""


class CommandError(Exception):
    """The command cannot be carried out; the message is for the person who typed it."""


def run_command(main: Callable[[], int], *, debug: bool) -> int:
    """Runs `main` and turns its errors into one line on stderr and an exit code.

    Args:
      main: returns the exit code.
      debug: let errors through with their traceback.
    Returns:
      The exit code: that of `main`, 2 after a `UsageError`, 1 after any other error, 130 after Ctrl-C.
    """
    try:
        return main()
    except KeyboardInterrupt:
        if debug:
            raise
        return 130
    except UsageError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except CommandError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except Exception as error:
        if debug:
            raise
        # Some libraries, gRPC among them, write a paragraph.
        message = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"error: {message} (run with --debug for the traceback)", file=sys.stderr)
        return EXIT_FAILURE


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that every service has."""
    parser.add_argument(
        "--exit_with_parent",
        action="store_true",
        help="watch standard input and end when it closes, so that a child dies with its parent",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and debug logs")


def configure_logging(*, debug: bool) -> None:
    """Sends log lines with time, level and logger name to stderr."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def exit_with_parent() -> None:
    """Ends this process with SIGTERM once standard input closes.

    A parent that is killed closes the pipe whatever the way it died, on every platform; there is no
    process id to mistake. If SIGTERM has not ended the process after 10 s, it exits at once.
    """

    def watch() -> None:
        # An error (no standard input at all, or one that broke) means the same as its end.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(10)
        os._exit(EXIT_FAILURE)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def exit_process(code: int) -> NoReturn:
    """Ends the process without waiting for threads that libraries left behind."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
