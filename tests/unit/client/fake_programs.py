"""Stands in for the interpreters of the embedded stack's children: `fake_programs.py -m nas_trainer.main …`.

The trainer and the latency calculator here are real workers on the real worker loop with handlers that take
milliseconds. What a trial does is said by the trainer flags of its job:

    fake_seconds=0.2      how long a training takes
    fake_fail=3           trial 3 fails
    fake_invalid=1        every trial says that the job is wrong
    fake_die=…            the trainer dies at start with this message
"""

import argparse
import sys
import zlib
from pathlib import Path

from nas.v1 import resources_pb2, task_service_pb2

from nas_shared.cli import exit_with_parent
from nas_shared.work import Outcome, TaskFailed, TaskRun, TaskStopped, Worker


class FakeTraining:
    """Reports a SavedModel and three measurements, writes what a trainer would leave, and completes."""

    def handle(self, run: TaskRun) -> Outcome:
        work = run.task.train
        flags = work.spec.flags
        if "fake_invalid" in flags:
            raise TaskFailed(resources_pb2.INVALID_JOB, "fake_invalid: found it, expected none")
        attempt_dir = Path(work.attempt_dir)
        saved_model = attempt_dir / "untrained" / "saved_model"
        saved_model.mkdir(parents=True, exist_ok=True)
        for step in (1, 2, 3):
            run.report(step * 10, {"loss": 1.0 / step}, str(saved_model) if step == 1 else "")
            if run.wait_stop(float(flags.get("fake_seconds", "0.1")) / 3):
                raise TaskStopped
        if flags.get("fake_fail") == str(work.trial_number):
            raise TaskFailed(resources_pb2.NAN_LOSS, "the loss is NaN at step 30")
        (attempt_dir / "nas_params_str.json").write_text(work.nas_params_str)
        accuracy = 0.9 + 0.01 * (zlib.crc32(work.nas_params_str.encode()) % 10)
        metrics = {
            work.reward_metric: accuracy,
            "loss": 0.3,
            "parameters": 2.5e6 + 1e5 * work.trial_number,
            "multiply_adds": 1.2e7,
        }
        return Outcome(30, metrics)


class FakeMeasuring:
    """Measures nothing, quickly."""

    def handle(self, run: TaskRun) -> Outcome:
        return Outcome(0, {"latency_p50_ms": 2.0 + 0.1 * run.task.measure.trial_number, "memory_bytes": 1e7})


def main() -> int:
    module = sys.argv[2]
    parser = argparse.ArgumentParser()
    parser.add_argument("--orchestrator", required=True)
    parser.add_argument("--worker_id", required=True)
    parser.add_argument("--device_type", "--accelerator_type", default="")
    parser.add_argument("--num_gpus", type=int, default=0)
    parser.add_argument("--exit_with_parent", action="store_true")
    parser.add_argument("--debug", action="store_true")
    flags = parser.parse_args(sys.argv[3:])
    if flags.exit_with_parent:
        exit_with_parent()
    training = module == "nas_trainer.main"
    return Worker(
        flags.orchestrator,
        worker_id=flags.worker_id,
        kind=task_service_pb2.Task.TRAIN if training else task_service_pb2.Task.MEASURE,
        device_type=flags.device_type,
        handler=FakeTraining() if training else FakeMeasuring(),
    ).run()


if __name__ == "__main__":
    sys.exit(main())
