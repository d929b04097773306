"""The command lines of the embedded stack's child processes, and how many workers a search gets."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.v1 import resources_pb2

from nas_client.embedded.directory import Directory
from nas_client.embedded.supervisor import Program
from nas_shared.cli import CommandError


@dataclass(frozen=True)
class Workers:
    """The workers a search needs on this machine.

    Attributes:
      trainers: how many.
      accelerator_type: what the trainers offer; empty: CPU.
      gpus_per_trainer: 0 on CPU.
      measure_device_type: device type to measure on; empty: nothing is measured.
      has_program: whether the trainer is the user's own, which runners start.
    """

    trainers: int
    accelerator_type: str = ""
    gpus_per_trainer: int = 0
    measure_device_type: str = ""
    has_program: bool = False


def workers_for(spec: resources_pb2.SearchJobSpec, num_train_workers: int | None) -> Workers:
    """One trainer per core, or per trial's accelerators, but never more than trials run at once.

    Both stages share the trainers.

    Args:
      num_train_workers: so many instead; None to decide here.
    Raises:
      CommandError: if this machine lacks the accelerators a trial needs.
    """
    stage = spec.train_stage
    trains = (
        [stage.train]
        if stage.trials
        else [spec.train, *([stage.train] if spec.HasField("train_stage") else [])]
    )
    kind = trains[0].accelerator_type
    if trains[-1].accelerator_type != kind:
        raise CommandError(
            f"--train_accelerator_type: found {trains[-1].accelerator_type!r} with "
            f"--accelerator_type={kind!r}, expected the same: both stages share the trainers on one machine"
        )
    gpus_per_trainer = max(train.accelerator_count for train in trains)
    searched = 0 if stage.trials else min(spec.limits.max_parallel_trial_count, spec.limits.max_trial_count)
    parallel = max(
        searched, min(stage.max_parallel_trial_count, len(stage.trials) or stage.max_parallel_trial_count)
    )
    if kind:
        gpus = _gpu_count()
        if gpus < gpus_per_trainer:
            raise CommandError(
                f"--accelerator_type={kind}: found {gpus} NVIDIA GPUs on this machine, expected "
                f"{gpus_per_trainer} or more; leave the flag out to train on CPU"
            )
        room = gpus // gpus_per_trainer
    else:
        room = len(os.sched_getaffinity(0))
    return Workers(
        trainers=num_train_workers or max(min(parallel, room), 1),
        accelerator_type=kind,
        gpus_per_trainer=gpus_per_trainer,
        measure_device_type=spec.measure.device_type if spec.HasField("measure") else "",
        has_program=trains[0].HasField("program"),
    )


def orchestrator(
    directory: Directory, *, port: int | None, lease_seconds: float | None, debug: bool
) -> Sequence[str]:
    """The orchestrator, on `port` or, without one, on a free port that it writes to the port file."""
    return [
        *_module("nas_orchestrator.main", "NAS_ORCHESTRATOR_PYTHON"),
        f"--listen=127.0.0.1:{port or 0}",
        f"--port_file={directory.port_file}",
        f"--database=sqlite:///{directory.database}",
        *([f"--lease_seconds={lease_seconds:g}"] if lease_seconds is not None else []),
        *_common(debug),
    ]


def trainers(workers: Workers, endpoint: str, *, latency_port: int | None, debug: bool) -> list[Program]:
    """The trainers `trainer-1`, `trainer-2` …, or the runners of the user's own."""
    module = "nas_trainer.programs.main" if workers.has_program else "nas_trainer.main"
    accelerator = []
    if workers.accelerator_type:
        accelerator = [
            f"--accelerator_type={workers.accelerator_type}",
            f"--num_gpus={workers.gpus_per_trainer}",
        ]
    programs = []
    for index in range(workers.trainers):
        name = f"trainer-{index + 1}"
        command = [
            *_module(module, "NAS_TRAINER_PYTHON"),
            f"--orchestrator={endpoint}",
            f"--worker_id={name}",
            *accelerator,
            *_common(debug),
        ]
        extra = {}
        if latency_port is not None:
            extra["NAS_LATENCY_ENDPOINT"] = f"127.0.0.1:{latency_port}"
        if workers.gpus_per_trainer:
            first = index * workers.gpus_per_trainer
            gpus = range(first, first + workers.gpus_per_trainer)
            extra["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in gpus)
        programs.append(Program(name, partial(list, command), environment(extra)))
    return programs


def latency_calculator(
    device_type: str, endpoint: str, *, name: str = "latency-1", port: int | None = None, debug: bool
) -> Program:
    """The latency calculator: a device is measured by one at a time. On `port` programs may ask it, too."""
    command = [
        *_module("nas_latency.main", "NAS_LATENCY_PYTHON"),
        f"--orchestrator={endpoint}",
        f"--worker_id={name}",
        f"--device_type={device_type}",
        *([f"--listen=127.0.0.1:{port}"] if port is not None else []),
        *_common(debug),
    ]
    return Program(name, partial(list, command), environment())


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, for children whose output goes to a log."""
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "PYTHONUNBUFFERED": "1", **(extra or {})}


def _module(module: str, python_variable: str) -> list[str]:
    # Each service may live in an environment of its own: the orchestrator's needs no TensorFlow.
    return [os.environ.get(python_variable) or sys.executable, "-m", module]


def _common(debug: bool) -> list[str]:
    return ["--exit_with_parent", *(["--debug"] if debug else [])]


def _gpu_count() -> int:
    """NVIDIA GPUs of this machine; 0 when the driver's tool is missing or fails."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([gpu for gpu in listed.split(",") if gpu.strip() not in ("", "-1")])
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())


def read_port(port_file: Path) -> int | None:
    """The port the orchestrator wrote, or None before it has."""
    try:
        text = port_file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
