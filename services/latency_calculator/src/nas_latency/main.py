"""Wires the latency calculator: a worker for searches, a service for anyone, or both."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from nas.v1 import task_service_pb2

from nas_latency import service
from nas_latency.calculator import CPU, DEVICE_TYPES, Calculator
from nas_latency.handler import MeasureHandler
from nas_shared.cli import (
    EXIT_OK,
    CommandError,
    UsageError,
    add_common_flags,
    configure_logging,
    exit_with_parent,
    run_command,
)
from nas_shared.rpc import ListenError, Server, read_token
from nas_shared.work import Worker

log = logging.getLogger(__name__)

_GRACE_SECONDS = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    args = _parser().parse_args(argv)
    configure_logging(debug=args.debug)
    return run_command(lambda: _run(args), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nas_latency.main", description=__doc__)
    parser.add_argument("--orchestrator", help="host:port to take MEASURE tasks from")
    parser.add_argument("--listen", help="host:port to serve LatencyService on; port 0 takes a free one")
    parser.add_argument("--device_type", default=CPU, help="device to measure on: %(default)s")
    parser.add_argument(
        "--worker_id",
        default=f"latency-{socket.gethostname()}-{os.getpid()}",
        help="name of this worker, unique among those running (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads per inference (%(default)s)")
    parser.add_argument(
        "--memory_limit_mb", type=int, help="heap a measured model may have (3/4 of the machine's memory)"
    )
    parser.add_argument(
        "--lock_dir",
        default=tempfile.gettempdir(),
        help="directory of the device's lock, the same for all calculators of a machine (%(default)s)",
    )
    parser.add_argument("--token_file", help="file with the bearer token to send and to ask for")
    add_common_flags(parser)
    return parser


def _run(args: argparse.Namespace) -> int:
    calculator, token = _checked(args)
    if args.exit_with_parent:
        exit_with_parent()
    if not args.orchestrator:
        ended = _on_signal()
        with _served(args.listen, calculator, token):
            ended.wait()
        return EXIT_OK
    with _served(args.listen, calculator, token) if args.listen else contextlib.nullcontext():
        return Worker(
            args.orchestrator,
            worker_id=args.worker_id,
            kind=task_service_pb2.Task.MEASURE,
            device_type=args.device_type,
            handler=MeasureHandler(calculator),
            token=token,
        ).run()


def _checked(args: argparse.Namespace) -> tuple[Calculator, str | None]:
    """What the flags ask for.

    Raises:
      UsageError: a flag is wrong; names it.
    """
    if not args.orchestrator and not args.listen:
        raise UsageError("neither --orchestrator nor --listen is given; expected at least one")
    if args.device_type not in DEVICE_TYPES:
        raise UsageError(f"--device_type={args.device_type}: expected one of {', '.join(DEVICE_TYPES)}")
    for flag in ("threads", "memory_limit_mb"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UsageError(f"--{flag}={value}: expected 1 or more")
    if not Path(args.lock_dir).is_dir():
        raise UsageError(f"--lock_dir={args.lock_dir}: no such directory")
    try:
        token = read_token(args.token_file)
    except ValueError as error:
        raise UsageError(str(error)) from error
    calculator = Calculator(
        args.device_type,
        threads=args.threads,
        lock_dir=args.lock_dir,
        memory_limit_bytes=args.memory_limit_mb and args.memory_limit_mb * 10**6,
        debug=args.debug,
    )
    return calculator, token


@contextlib.contextmanager
def _served(listen: str, calculator: Calculator, token: str | None) -> Iterator[None]:
    """Serves LatencyService from a thread of its own; measurements under way end on leaving."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="latency-service", daemon=True)
    thread.start()

    async def start() -> Server:
        server = service.build(listen, calculator, token)
        await server.start()
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    except ListenError as error:
        raise CommandError(str(error)) from error
    log.info("LatencyService listens on port %d", server.port)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(_GRACE_SECONDS), loop).result()


def _on_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    ended = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: ended.set())
    return ended


if __name__ == "__main__":
    sys.exit(main())
