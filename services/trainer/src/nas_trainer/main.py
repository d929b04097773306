"""`python -m nas_trainer.main`: a trainer that claims trials from an orchestrator. Wiring only."""

import argparse
import os
import socket
import sys
from collections.abc import Callable, Sequence

from nas_shared.cli import (
    UsageError,
    add_common_flags,
    configure_logging,
    exit_process,
    exit_with_parent,
    run_command,
)
from nas_shared.rpc import read_token


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the trainer until it is told to end or recycles; returns the exit code.

    0 also means "start me again": a supervisor restarts a trainer that recycled.
    """
    flags = _parser().parse_args(argv)
    configure_logging(debug=flags.debug)
    return run_command(lambda: _run(flags), debug=flags.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas_trainer.main",
        description="Trains the architectures an orchestrator proposes.",
        allow_abbrev=False,
    )
    parser.add_argument("--orchestrator", required=True, help="host:port of the orchestrator")
    parser.add_argument(
        "--worker_id",
        default=f"trainer-{socket.gethostname()}-{os.getpid()}",
        help="unique among the running workers",
    )
    parser.add_argument("--token_file", help="file with the bearer token to send")
    parser.add_argument("--num_gpus", type=_at_least(0), default=0, help="GPUs per trial; 0 = CPU")
    parser.add_argument(
        "--accelerator_type", default="", help="what the GPUs are called in jobs, e.g. NVIDIA_TESLA_T4"
    )
    parser.add_argument(
        "--threads",
        type=_at_least(0),
        default=None,
        help="CPU threads per operation; 0 = TensorFlow's choice. Default: 1 on CPU, 0 with GPUs. "
        "On CPU start one trainer per core",
    )
    parser.add_argument(
        "--cpu_replicas",
        type=_at_least(1),
        default=1,
        help="divide every batch among so many parts of the CPU, as among GPUs; for trying that out",
    )
    parser.add_argument(
        "--max_trials_per_process",
        type=_at_least(0),
        default=50,
        help="ends (exit code 0, to be started again) after so many trials; 0 = never",
    )
    parser.add_argument(
        "--memory_limit_mb",
        type=_at_least(0),
        default=4096,
        help="ends after a trial that leaves more resident memory than this; 0 = never",
    )
    add_common_flags(parser)
    return parser


def _run(flags: argparse.Namespace) -> int:
    if bool(flags.num_gpus) != bool(flags.accelerator_type):
        raise UsageError("--num_gpus and --accelerator_type belong together: give both or none")
    if flags.num_gpus and flags.cpu_replicas > 1:
        raise UsageError(f"--cpu_replicas: found {flags.cpu_replicas} with --num_gpus, expected one of them")
    if os.environ.get("TF_CONFIG"):
        raise UsageError(
            "TF_CONFIG: found a cluster of several machines, expected none: a trial trains on one machine, "
            "with all of its GPUs if asked"
        )
    try:
        token = read_token(flags.token_file)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if flags.exit_with_parent:
        exit_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if flags.debug else "2")

    # TensorFlow takes seconds to import: after the flags are known to be good.
    from nas.v1 import task_service_pb2

    from nas_shared.work import Worker
    from nas_trainer import devices
    from nas_trainer.errors import ConfigError
    from nas_trainer.handler import TrainHandler
    from nas_trainer.memory import grows_beyond

    threads = flags.threads
    if threads is None:
        threads = 0 if flags.num_gpus else 1
    try:
        claimed = devices.set_up(num_gpus=flags.num_gpus, threads=threads, replicas=flags.cpu_replicas)
    except ConfigError as error:
        raise UsageError(f"--{error}") from error
    worker = Worker(
        flags.orchestrator,
        worker_id=flags.worker_id,
        kind=task_service_pb2.Task.TRAIN,
        device_type=flags.accelerator_type,
        handler=TrainHandler(claimed),
        token=token,
        max_tasks=flags.max_trials_per_process or None,
        should_recycle=grows_beyond(flags.memory_limit_mb),
    )
    return worker.run()


def _at_least(minimum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"found {value}; expected {minimum} or more")
        return value

    return number


if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))
