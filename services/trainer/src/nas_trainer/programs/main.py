"""`python -m nas_trainer.programs.main`: runs users' own trainers for an orchestrator. Wiring only."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from nas.v1 import task_service_pb2

from nas_shared.cli import (
    UsageError,
    add_common_flags,
    configure_logging,
    exit_process,
    exit_with_parent,
    run_command,
)
from nas_shared.rpc import read_token
from nas_shared.work import Worker
from nas_shared.work.pools import train_pool
from nas_trainer.programs.arguments import visible_gpus
from nas_trainer.programs.container import ENGINES
from nas_trainer.programs.handler import ProgramHandler


def main(argv: Sequence[str] | None = None) -> int:
    """Runs programs until it is told to end; returns the exit code."""
    flags = _parser().parse_args(argv)
    configure_logging(debug=flags.debug)
    return run_command(lambda: _run(flags), debug=flags.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas_trainer.programs.main",
        description="Trains the architectures an orchestrator proposes with programs of the users' own.",
        allow_abbrev=False,
    )
    parser.add_argument("--orchestrator", required=True, help="host:port of the orchestrator")
    parser.add_argument(
        "--worker_id",
        default=f"program-runner-{socket.gethostname()}-{os.getpid()}",
        help="unique among the running workers",
    )
    parser.add_argument("--token_file", help="file with the bearer token to send")
    parser.add_argument("--num_gpus", type=int, default=0, help="GPUs per trial; 0 = CPU")
    parser.add_argument(
        "--accelerator_type", default="", help="what the GPUs are called in jobs, e.g. NVIDIA_TESLA_T4"
    )
    parser.add_argument(
        "--engine",
        choices=(*ENGINES, "auto"),
        default="auto",
        help="what runs programs that are an image; auto: the first that is installed. Default: %(default)s",
    )
    add_common_flags(parser)
    return parser


def _run(flags: argparse.Namespace) -> int:
    if flags.num_gpus < 0:
        raise UsageError(f"--num_gpus={flags.num_gpus}: expected 0 or more")
    if bool(flags.num_gpus) != bool(flags.accelerator_type):
        raise UsageError("--num_gpus and --accelerator_type belong together: give both or none")
    try:
        token = read_token(flags.token_file)
        visible_gpus(flags.num_gpus, os.environ)
    except ValueError as error:  # ConfigError is one.
        raise UsageError(str(error)) from error
    if flags.exit_with_parent:
        exit_with_parent()
    worker = Worker(
        flags.orchestrator,
        worker_id=flags.worker_id,
        kind=task_service_pb2.Task.TRAIN,
        device_type=train_pool(flags.accelerator_type, has_program=True),
        handler=ProgramHandler(engine=flags.engine, num_gpus=flags.num_gpus),
        token=token,
    )
    return worker.run()


if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))
