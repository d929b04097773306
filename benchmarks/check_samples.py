"""Builds random networks of a search space, and trains some of them for a step: none may fail.

    .venv/bin/python benchmarks/check_samples.py --search_space=spinenet --samples=200

The networks are narrow and the images small, so that a sample takes seconds; what is built and how does not
depend on the width. Prints JSON; exit code 1 if a sample failed.
"""

import argparse
import json
import math
import os
import random
import sys
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import train_utils

from nas_shared import search_spaces
from nas_trainer import devices
from nas_trainer.flags import TrainerFlags
from nas_trainer.training import experiment, tasks
from nas_trainer.training.trial import build_model

CONFIGS = {
    "classification": "mnasnet_fast_testing.yaml",
    "retinanet": "fast_nas_detection_spinenet_search_for_testing.yaml",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--search_space", default="spinenet")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument(
        "--train_every", type=int, default=10, help="train each n-th sample for a step; 0: none"
    )
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    used = devices.set_up(num_gpus=0, threads=1)
    space = search_spaces.load(flags.search_space)
    model = experiment.model_of(flags.search_space)
    generator = random.Random(flags.seed)
    built, trained, failed, losses, networks = 0, 0, [], [], set()
    start = time.monotonic()
    for number in range(flags.samples):
        nas_params_str = space.nas_params_str([generator.randrange(n) for n in space.cardinalities])
        networks.add(space.identity(nas_params_str))
        try:
            params = experiment.configure(
                TrainerFlags(params_override=CONFIGS[model], model=model),
                search_space=flags.search_space,
                nas_params_str=nas_params_str,
                devices=used,
            )
            network = build_model(params)
            built += 1
            if flags.train_every and number % flags.train_every == 0:
                losses.append(train_a_step(params, network))
                trained += 1
        except Exception as error:  # Whatever it is, it is what this program looks for.
            traceback.print_exc()
            failed.append({"nas_params_str": nas_params_str, "error": f"{type(error).__name__}: {error}"})
        tf_keras.backend.clear_session()
    print(
        json.dumps(
            {
                "search_space": flags.search_space,
                "samples": flags.samples,
                "different_networks": len(networks),
                "built": built,
                "trained_a_step": trained,
                "largest_loss": max(losses, default=None),
                "failed": failed,
                "seconds": round(time.monotonic() - start),
            },
            indent=2,
        )
    )
    return 1 if failed else 0


def train_a_step(params: cfg.ExperimentConfig, network: tf_keras.Model) -> float:
    """One step on made-up images, without a trace, which would take most of the time; the loss."""
    task = tasks.of(params.task)
    optimizer = train_utils.create_optimizer(task, params)
    loss = float(task.train_step(made_up_batch(params), network, optimizer, task.build_metrics())["loss"])
    if not math.isfinite(loss):
        raise ValueError(f"the loss is {loss}")
    return loss


def made_up_batch(params: cfg.ExperimentConfig) -> tuple[tf.Tensor, object]:
    """Two images of noise, and labels of the form that the task wants."""
    model = params.task.model
    images = tf.random.stateless_normal([2, *model.input_size], seed=(1, 2))
    if "retinanet" not in type(params.task).__name__.lower():
        return images, tf.constant([0, 1])
    anchors = model.anchor.num_scales * len(model.anchor.aspect_ratios)
    sides = {
        str(level): model.input_size[0] // 2**level for level in range(model.min_level, model.max_level + 1)
    }
    labels = {
        "cls_targets": {level: tf.ones([2, side, side, anchors], tf.int32) for level, side in sides.items()},
        "box_targets": {level: tf.zeros([2, side, side, 4 * anchors]) for level, side in sides.items()},
    }
    total = sum(side * side * anchors for side in sides.values())
    labels["cls_weights"] = labels["box_weights"] = tf.ones([2, total])
    return images, labels


if __name__ == "__main__":
    sys.exit(main())
