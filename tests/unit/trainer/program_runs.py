"""A handler of users' programs, run on tasks a test makes up."""

import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.v1 import resources_pb2, task_service_pb2

from nas_shared.work import Outcome, StopReason
from nas_trainer.programs.handler import ProgramHandler

REPORT = (
    "import json, os\n"
    "def report(end='\\n', **fields):\n"
    "    with open(os.environ['CLOUD_ML_HP_METRIC_FILE'], 'a') as file:\n"
    "        file.write(json.dumps({k: str(v) for k, v in fields.items()}) + end)\n"
)


class FakeRun:
    """A claimed task that nobody renews; remembers what is reported."""

    def __init__(self, task: task_service_pb2.Task):
        self.task = task
        self.reports: list[tuple[int, dict[str, float], str]] = []
        self.reported = threading.Event()
        self.stop_reason: StopReason | None = None

    @property
    def should_stop(self) -> bool:
        return self.stop_reason is not None

    def stop(self, reason: StopReason = StopReason.TRIAL_STOPPED) -> None:
        self.stop_reason = reason

    def report(self, step: int, metrics: Any, saved_model_dir: str = "") -> None:
        self.reports.append((step, dict(metrics), saved_model_dir))
        self.reported.set()


def task(
    directory: Path,
    command: Sequence[str] = (),
    *,
    image: str = "",
    attempt: int = 1,
    flags: dict[str, str] | None = None,
    timeout: float | None = None,
    measured: bool = False,
    gpus: int = 0,
) -> task_service_pb2.Task:
    """The training of trial 7 by a program, metric `accuracy`."""
    program = resources_pb2.Program(image=image, command=command)
    if timeout is not None:
        program.timeout.FromNanoseconds(int(timeout * 1e9))
    trial_dir = directory / "nas" / "search" / "7"
    return task_service_pb2.Task(
        name="searchJobs/3/trials/7/tasks/train",
        kind=task_service_pb2.Task.TRAIN,
        attempt=attempt,
        train=task_service_pb2.TrainWork(
            trial_number=7,
            nas_params_str='{"units": "0/2 (8)"}',
            reward_metric="accuracy",
            trial_dir=str(trial_dir),
            attempt_dir=str(trial_dir / "attempts" / str(attempt)),
            measured=measured,
            spec=resources_pb2.TrainSpec(flags=flags or {}, program=program, accelerator_count=gpus),
        ),
    )


def script(path: Path, text: str) -> str:
    """An executable file."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def handle(run: FakeRun, **kwargs: Any) -> Outcome:
    """Runs the program of `run` to its end."""
    return ProgramHandler(**kwargs).handle(run)  # type: ignore[arg-type]
