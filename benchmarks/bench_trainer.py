"""What a trial costs beyond the library itself; prints JSON.

`ratio` is the steps/s of the trainer's own path over the library's `run_experiment`, with the same
configuration and data, loop by loop in turns in one process. `start_up_speedup` is the time from
having a task to the first training step done: a fresh process, its imports included, over the
second trial of a warm worker. Medians of `--repeats` each.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

STEPS = 400
STEPS_PER_LOOP = 10
OVERRIDE = (
    f"trainer.train_steps={STEPS},trainer.steps_per_loop={STEPS_PER_LOOP},trainer.checkpoint_interval={STEPS},"
    f"trainer.validation_interval={STEPS},task.model.num_classes=10,task.model.input_size=[32,32,3],"
    "task.model.backbone.mnasnet.filter_size_scale=0.25,task.model.backbone.mnasnet.divisible_by=4,"
    "task.train_data.global_batch_size=64,task.train_data.cache=True,task.train_data.seed=1,"
    f"task.validation_data.global_batch_size=64,trainer.summary_interval={STEPS_PER_LOOP}"
)


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="measurements per figure")
    parser.add_argument("--child", choices=["speed", "start_up"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(_CHILDREN[flags.child](flags.directory)))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(_measure(Path(directory), flags.repeats), indent=2))
    return 0


def _measure(directory: Path, repeats: int) -> dict[str, Any]:
    write_images(directory / "train.tfrecord", count=640)
    speeds = [_child("speed", directory) for _ in range(repeats)]
    ours = statistics.median(run["ours"] for run in speeds)
    library = statistics.median(run["library"] for run in speeds)
    start_ups = [_child("start_up", directory) for _ in range(repeats)]
    fresh = statistics.median(run["fresh_s"] for run in start_ups)
    warm = statistics.median(run["warm_s"] for run in start_ups)
    return {
        "steps_per_s": round(ours, 3),
        "library_steps_per_s": round(library, 3),
        "ratio": round(statistics.median(run["ratio"] for run in speeds), 3),
        "fresh_start_up_s": round(fresh, 2),
        "warm_start_up_s": round(warm, 2),
        "start_up_speedup": round(fresh / warm, 2),
        "repeats": repeats,
        "steps": STEPS - STEPS_PER_LOOP,
    }


def _child(kind: str, directory: Path) -> dict[str, float]:
    """Runs one measurement in a process of its own."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "BENCH_START": repr(time.monotonic())}
    command = [sys.executable, __file__, f"--child={kind}", f"--directory={directory}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _speed(directory: Path) -> dict[str, float]:
    """Steps/s of both paths, loop by loop in turns: whatever else the machine does hits both."""
    from nas_trainer import devices
    from nas_trainer.training.trial import Trial

    params = _params(directory, devices.set_up(num_gpus=0, threads=1))
    import tensorflow as tf
    import tf_keras
    from official.core import task_factory, train_lib

    tf_keras.utils.set_random_seed(params.task.train_data.seed)
    trial = Trial(
        params,
        directory / f"ours-{os.getpid()}",
        report=lambda *_: None,
        after_step=lambda: None,
        strategy=tf.distribute.get_strategy(),
    )
    # `Trial.train` runs to the end of training; its controller also runs a loop at a time.
    controller = trial._runner.controller
    ours, library = [], []
    mark = time.monotonic()

    def take_turns(_: Any) -> None:
        nonlocal mark
        library.append(time.monotonic() - mark)
        begin = time.monotonic()
        controller.train(trial.step + STEPS_PER_LOOP, checkpoint_at_completion=False)
        ours.append(time.monotonic() - begin)
        mark = time.monotonic()

    train_lib.run_experiment(
        distribution_strategy=tf.distribute.get_strategy(),
        task=task_factory.get_task(params.task),
        mode="train",
        params=params,
        model_dir=str(directory / f"library-{os.getpid()}"),
        train_actions=[take_turns],
    )
    return {
        # The first loop of each traces the network; that belongs to start-up.
        "ours": STEPS_PER_LOOP / statistics.median(ours[1:]),
        "library": STEPS_PER_LOOP / statistics.median(library[1:]),
        # Of neighbours in time, half a second apart.
        "ratio": statistics.median(theirs / mine for mine, theirs in zip(ours[1:], library[1:], strict=True)),
    }


def _start_up(directory: Path) -> dict[str, float]:
    """Start-up of this fresh process, then of a second trial in it."""
    fresh_from = float(os.environ["BENCH_START"])
    from nas_trainer import devices
    from nas_trainer.handler import TrainHandler
    from nas_trainer.training import trial as trial_module

    handler = TrainHandler(devices.set_up(num_gpus=0, threads=1))
    first_steps: list[float] = []
    tick = trial_module.StepwiseTrainer._checked

    def checked(self: Any, step_fn: Any, traced: bool) -> Any:
        inner = self._after_step

        def after_step() -> None:
            if len(first_steps) < trials:
                first_steps.append(time.monotonic())
            inner()

        self._after_step = after_step
        return tick(self, step_fn, traced)

    trial_module.StepwiseTrainer._checked = checked
    trials = 1
    handler.handle(_run(directory, number=1))
    warm_from = time.monotonic()
    trials = 2
    handler.handle(_run(directory, number=2))
    return {"fresh_s": first_steps[0] - fresh_from, "warm_s": first_steps[1] - warm_from}


def _params(directory: Path, devices: Any) -> Any:
    from nas_trainer.flags import TrainerFlags
    from nas_trainer.training import experiment

    return experiment.configure(
        TrainerFlags.parse(_flags(directory)),
        search_space="mnasnet",
        nas_params_str=architecture(1),
        devices=devices,
    )


def _run(directory: Path, *, number: int) -> Any:
    """A claimed task, as the handler sees it."""
    from nas.v1 import task_service_pb2

    trial_dir = directory / f"start-up-{os.getpid()}-{number}"
    work = task_service_pb2.TrainWork(
        trial_number=number,
        search_space="mnasnet",
        nas_params_str=architecture(1),
        reward_metric="loss",
        trial_dir=str(trial_dir),
        attempt_dir=str(trial_dir / "attempts" / "1"),
    )
    flags = _flags(directory) | {"job_mode": "train"}
    flags["params_override"] += ",trainer.train_steps=4"
    work.spec.flags.update(flags)
    task = task_service_pb2.Task(name=f"searchJobs/1/trials/{number}/tasks/train", attempt=1, train=work)
    return SimpleNamespace(task=task, should_stop=False, stop_reason=None, report=lambda *_, **__: None)


def _flags(directory: Path) -> dict[str, str]:
    data = str(directory / "train.tfrecord")
    return {"params_override": OVERRIDE, "training_data_path": data, "validation_data_path": data}


def architecture(seed: int) -> str:
    """A random architecture of `mnasnet`."""
    from nas_shared import search_spaces

    space = search_spaces.load("mnasnet")
    chance = random.Random(seed)
    return space.nas_params_str([chance.randrange(count) for count in space.cardinalities])


def write_images(path: Path, count: int) -> None:
    """Writes `count` random 32x32 images in 10 classes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    chance = np.random.default_rng(0)

    def feature(**kind: Any) -> tf.train.Feature:
        return tf.train.Feature(**kind)

    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            pixels = chance.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            image = tf.io.encode_png(pixels).numpy()
            side = feature(int64_list=tf.train.Int64List(value=[32]))
            label = feature(int64_list=tf.train.Int64List(value=[number % 10]))
            fields = {
                "image/encoded": feature(bytes_list=tf.train.BytesList(value=[image])),
                "image/height": side,
                "image/width": side,
                "image/class/label": label,
            }
            example = tf.train.Example(features=tf.train.Features(feature=fields))
            writer.write(example.SerializeToString())


_CHILDREN = {"speed": _speed, "start_up": _start_up}

if __name__ == "__main__":
    sys.exit(main())
