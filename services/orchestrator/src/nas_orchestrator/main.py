"""`nas-orchestrator`: reads the flags, opens the store, serves until it is told to end."""

import argparse
import asyncio
import logging
import signal
import sys

from nas_orchestrator.app import App, serve
from nas_shared.blobs import write_atomically
from nas_shared.cli import (
    CommandError,
    UsageError,
    add_common_flags,
    configure_logging,
    exit_with_parent,
    run_command,
)
from nas_shared.errors import InvalidArgument, Unavailable
from nas_shared.rpc import ListenError, read_token

log = logging.getLogger(__name__)


def parse_flags(argv: list[str]) -> argparse.Namespace:
    """Flags of the orchestrator."""
    parser = argparse.ArgumentParser(prog="nas-orchestrator", description=__doc__)
    parser.add_argument(
        "--listen", default="127.0.0.1:8470", help="host:port; port 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        "--database", default="sqlite:///nas.db", help="where jobs and trials are kept (%(default)s)"
    )
    parser.add_argument("--port_file", help="a file that gets the port once the orchestrator serves")
    parser.add_argument(
        "--lease_seconds",
        type=float,
        default=60.0,
        help="a worker that does not renew for so long loses its task (%(default)s)",
    )
    parser.add_argument("--token_file", help="file with the token asked of every caller; needed off loopback")
    add_common_flags(parser)
    return parser.parse_args(argv)


async def _run(flags: argparse.Namespace) -> int:
    if not 1 <= flags.lease_seconds <= 86_400:
        raise UsageError(f"--lease_seconds={flags.lease_seconds:g}: expected 1 to 86400")
    try:
        app = App(
            listen=flags.listen,
            database=flags.database,
            lease_seconds=flags.lease_seconds,
            token=read_token(flags.token_file),
        )
    except (InvalidArgument, ListenError, ValueError) as error:
        raise UsageError(str(error)) from error
    except Unavailable as error:
        raise CommandError(str(error)) from error
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, until.set)

    def announce() -> None:
        if flags.port_file:
            write_atomically(flags.port_file, f"{app.port}\n".encode())
        log.info("serves on port %d, store %s", app.port, flags.database)

    await serve(app, until, announce)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM; returns the exit code."""
    flags = parse_flags(sys.argv[1:] if argv is None else argv)
    configure_logging(debug=flags.debug)
    # A commit that has returned from the disk waits for the interpreter at most so long (5 ms by default).
    sys.setswitchinterval(0.0005)
    if flags.exit_with_parent:
        exit_with_parent()
    return run_command(lambda: asyncio.run(_run(flags)), debug=flags.debug)


if __name__ == "__main__":
    sys.exit(main())
