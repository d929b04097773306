"""A trial whose batches are divided among two devices: here two parts of the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas_shared import search_spaces

pytestmark = pytest.mark.slow

# A process of its own: devices are divided before TensorFlow starts.
PROGRAM = """
import json, sys
import numpy as np
import tensorflow as tf
from nas_trainer import devices
used = devices.set_up(num_gpus=0, threads=1, replicas=2)
from nas_trainer.flags import TrainerFlags
from nas_trainer.training import experiment
from nas_trainer.training.loop import StopTraining
from nas_trainer.training.trial import Trial, fresh_session
from pathlib import Path

out, nas_params_str = Path(sys.argv[1]), sys.argv[2]
with tf.io.TFRecordWriter(str(out / "data.tfrecord")) as writer:
    for number in range(64):
        image = tf.io.encode_png(np.full((32, 32, 3), 20 * (number % 10), np.uint8)).numpy()
        feature = {
            "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
            "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 10])),
        }
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
flags = TrainerFlags(
    params_override="mnasnet_fast_testing.yaml",
    training_data_path=str(out / "data.tfrecord"),
    validation_data_path=str(out / "data.tfrecord"),
)
params = experiment.configure(flags, search_space="mnasnet", nas_params_str=nas_params_str, devices=used)
strategy = used.build_strategy()
steps = []

def after_step():
    steps.append(1)

with fresh_session(params):
    trial = Trial(
        params, out / "trial", report=lambda step, metrics: None, after_step=after_step, strategy=strategy
    )
    trial.train(evaluates_often=False)
    trained = len(steps)
    metrics = trial.evaluate()
    trial.export(out / "saved_model")
    print(json.dumps({
        "replicas": strategy.num_replicas_in_sync,
        "strategy": params.runtime.distribution_strategy,
        "step": trial.step,
        "steps": trained,
        "loss": trial.loss,
        "metrics": metrics,
    }))
"""


def test_a_batch_is_divided_among_two_devices_and_the_trial_is_whole(tmp_path: Path) -> None:
    space = search_spaces.load("mnasnet")
    choices = [0 if n < 3 else 1 for n in space.cardinalities]
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), space.nas_params_str(choices)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["replicas"] == 2
    assert found["strategy"] == "mirrored"
    assert found["step"] == found["steps"] == 12
    assert 0 < found["loss"] < 100
    assert 0 <= found["metrics"]["top_1_accuracy"] <= 1
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert list((tmp_path / "trial").glob("ckpt-12.index"))


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--num_gpus=1", "--accelerator_type=T4"], {}, "num_gpus: 1 asked for, but TensorFlow finds 0"),
        ([], {"TF_CONFIG": "{}"}, "TF_CONFIG: found a cluster"),
        (["--num_gpus=1", "--accelerator_type=T4", "--cpu_replicas=2"], {}, "--cpu_replicas: found 2"),
    ],
)
def test_a_trainer_that_cannot_have_its_devices_ends_with_bad_usage(arguments, environment, message) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "nas_trainer.main", "--orchestrator=127.0.0.1:1", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", **environment},
        check=False,
    )
    assert child.returncode == 2
    assert message in child.stderr
    assert "Traceback" not in child.stderr
