"""A user's search on real digits: the command line, its embedded stack, and the means to kill parts of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from nas.v1 import resources_pb2, search_service_pb2, search_service_pb2_grpc

from nas_shared.rpc import connect

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240.0

SMALL_TRAINING = """
# Long enough to be killed in the middle, small enough to end soon.
task:
  model:
    num_classes: 10
    input_size: [32, 32, 3]
    backbone:
      type: mnasnet
      mnasnet: {filter_size_scale: 0.1, divisible_by: 4, feature_filters: 128}
    norm_activation: {norm_momentum: 0.8}
  losses: {one_hot: true, label_smoothing: 0.0, l2_weight_decay: 0.0}
  train_data:
    global_batch_size: 16
    aug_rand_hflip: false
    aug_crop: false
    shuffle_buffer_size: 200
    deterministic: true
    seed: 1
  validation_data: {global_batch_size: 64, aug_crop: false, drop_remainder: false}
trainer:
  train_steps: STEPS
  steps_per_loop: 10
  checkpoint_interval: 10
  max_to_keep: 1
  optimizer_config:
    optimizer: {type: sgd, sgd: {momentum: 0.9}}
    learning_rate: {type: cosine, cosine: {initial_learning_rate: 0.05, decay_steps: STEPS}}
    warmup: {type: linear, linear: {warmup_learning_rate: 0.0, warmup_steps: 2}}
"""


def wait_for(what: str, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Returns what `condition` returns as soon as it is truthy."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


class Search:
    """A `search` command that runs, seen from outside."""

    def __init__(self, process: subprocess.Popen[str], root: Path):
        self.process = process
        self.root = root

    @property
    def stack(self) -> dict[str, Any]:
        path = self.root / "stack.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def pid(self, name: str) -> int:
        """Process id of a part of the stack, once it runs."""
        return wait_for(name, lambda: self.stack.get("processes", {}).get(name, {}).get("pid"))

    def kill(self, name: str) -> int:
        """SIGKILL; returns the process id that died."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_restart(self, name: str, died: int) -> None:
        wait_for(f"a new {name}", lambda: self.pid(name) != died)

    def log(self, name: str) -> str:
        path = self.root / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def wait_for_log(self, name: str, text: str) -> None:
        wait_for(f"{text!r} in the log of {name}", lambda: text in self.log(name))

    def finish(self) -> str:
        """Waits for the end of the command; its output."""
        output, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return output

    def job_dir(self) -> Path:
        (found,) = (path for path in self.root.iterdir() if (path / "nas").is_dir())
        return found


class User:
    """Somebody who types commands of `vertex_nas_cli.py`."""

    def __init__(self, directory: Path, data: Path):
        self.directory = directory
        self.root = directory / "out"
        self.data = data
        self.environment = {
            **os.environ,
            "XDG_STATE_HOME": str(directory / "state"),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> Search:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "vertex_nas_cli.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            env=self.environment,
        )
        self._running.append(process)
        return Search(process, self.root)

    def search(
        self, *, trials: int, parallel: int = 1, steps: int = 20, more: tuple[str, ...] = ()
    ) -> Search:
        (self.directory / "small.yaml").write_text(SMALL_TRAINING.replace("STEPS", str(steps)))
        return self.start(
            "search",
            "--job_name=digits",
            f"--root_output_dir={self.root}",
            "--use_prebuilt_trainer=True",
            "--prebuilt_search_space=mnasnet",
            "--nas_target_reward_metric=top_1_accuracy",
            "--algorithm=RANDOM",
            "--seed=5",
            f"--max_nas_trial={trials}",
            f"--max_parallel_nas_trial={parallel}",
            "--max_failed_nas_trial=1",
            "--target_device_type=CPU",
            "--use_prebuilt_latency_calculator=True",
            "--prebuilt_latency_image_width=32",
            "--prebuilt_latency_image_height=32",
            "--prebuilt_num_repetitions_for_latency_computation=20",
            *more,
            "--search_docker_flags",
            "params_override=small.yaml",
            "model=classification",
            f"training_data_path={self.data}/train-*",
            f"validation_data_path={self.data}/validation-*",
            "target_device_latency_ms=5",
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        search = self.start(*arguments)
        output = search.finish()
        return search.process.returncode, output

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait()


class Orchestrator:
    """Questions to the orchestrator of a running stack; it may be away for a moment."""

    def __init__(self, search: Search):
        endpoint = wait_for("an endpoint", lambda: search.stack.get("endpoint"))
        self._stub = search_service_pb2_grpc.SearchServiceStub(connect(endpoint))

    def job(self) -> resources_pb2.SearchJob | None:
        try:
            jobs = self._stub.ListSearchJobs(
                search_service_pb2.ListSearchJobsRequest(), timeout=5
            ).search_jobs
        except grpc.RpcError:
            return None
        return jobs[0] if jobs else None

    def wait_for_settled(self, count: int) -> None:
        def settled() -> bool:
            job = self.job()
            counts = job.trial_counts if job else resources_pb2.TrialCounts()
            return counts.succeeded + counts.failed + counts.infeasible >= count

        wait_for(f"{count} settled trials", settled)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TFRecords of scikit-learn's digits, made by the command users type."""
    directory = tmp_path_factory.mktemp("data") / "digits"
    command = [sys.executable, str(ROOT / "vertex_nas_cli.py"), "prepare_data", "--dataset=digits"]
    subprocess.run([*command, f"--output_dir={directory}"], check=True, capture_output=True, cwd=ROOT)
    return directory


@pytest.fixture
def user(tmp_path: Path, digits: Path) -> Iterator[User]:
    user = User(tmp_path, digits)
    yield user
    user.stop()
