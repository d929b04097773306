"""The command lines of the embedded stack's child processes, and how many workers a search gets."""

import os
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
    """

    trainers: int
    accelerator_type: str = ""
    gpus_per_trainer: int = 0
    measure_device_type: str = ""


def workers_for(spec: resources_pb2.SearchJobSpec, num_train_workers: int | None) -> Workers:
    """One trainer per core, or per trial's accelerators, but never more than trials run at once.

    Args:
      num_train_workers: so many instead; None to decide here.
    Raises:
      CommandError: if this machine lacks the accelerators a trial needs.
    """
    kind, gpus_per_trainer = spec.train.accelerator_type, spec.train.accelerator_count
    parallel = min(spec.limits.max_parallel_trial_count, spec.limits.max_trial_count)
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


def trainers(workers: Workers, endpoint: str, *, debug: bool) -> list[Program]:
    """The trainers `trainer-1`, `trainer-2` …"""
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
            *_module("nas_trainer.main", "NAS_TRAINER_PYTHON"),
            f"--orchestrator={endpoint}",
            f"--worker_id={name}",
            *accelerator,
            *_common(debug),
        ]
        extra = {}
        if workers.gpus_per_trainer:
            first = index * workers.gpus_per_trainer
            gpus = range(first, first + workers.gpus_per_trainer)
            extra["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in gpus)
        programs.append(Program(name, partial(list, command), environment(extra)))
    return programs


def latency_calculator(workers: Workers, endpoint: str, *, debug: bool) -> Program:
    """The latency calculator `latency-1`: a device is measured by one at a time."""
    name = "latency-1"
    command = [
        *_module("nas_latency.main", "NAS_LATENCY_PYTHON"),
        f"--orchestrator={endpoint}",
        f"--worker_id={name}",
        f"--device_type={workers.measure_device_type}",
        *_common(debug),
    ]
    return Program(name, partial(list, command), environment())


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
