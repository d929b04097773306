"""`python -m nas_trainer.evaluate_saved_model`: the metric of an exported model.

Prints one line of JSON: `metric`, `value`, `images`.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.vision.configs import retinanet
from official.vision.evaluation import coco_evaluator
from official.vision.serving import detection, image_classification
from PIL import Image

from nas_shared.cli import CommandError, run_command
from nas_trainer.data.annotated import BOX_FIELDS, OBJECT_LABEL_FIELD
from nas_trainer.data.files import DataError, match_files, open_file
from nas_trainer.data.records import IMAGE_FIELD, LABEL_FIELD
from nas_trainer.data.tfrecord import example_class, read_records
from nas_trainer.export_saved_model import TFLITE_NAME
from nas_trainer.training.exporting import read_params

_DETECTIONS = ("image_info", "num_detections", "detection_boxes", "detection_classes", "detection_scores")

Infer = Callable[[bytes], Mapping[str, np.ndarray]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m nas_trainer.evaluate_saved_model", description=__doc__)
    for name in ("params", "export_dir", "input_type"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--data", default="", help="TFRecord globs [default: those of the configuration]")
    flags = parser.parse_args(argv)
    return run_command(lambda: _run(flags), debug=False)


def _run(flags: argparse.Namespace) -> int:
    params = read_params(Path(flags.params))
    pattern = flags.data or params.task.validation_data.input_path
    is_detector = isinstance(params.task, retinanet.RetinaNetTask)
    try:
        examples = list(_examples(pattern))
    except DataError as error:
        raise CommandError(str(error)) from error
    infer = _loaded(Path(flags.export_dir), flags.input_type, params, is_detector)
    value = _average_precision(infer, examples) if is_detector else _accuracy(infer, examples)
    metric = "AP" if is_detector else "top_1_accuracy"
    print(json.dumps({"metric": metric, "value": value, "images": len(examples)}))
    return 0


def _examples(pattern: str) -> Iterator[Any]:
    """The features of every record."""
    for path in match_files(pattern, flag="validation_data_path"):
        with open_file(path) as file:
            for data in read_records(file):
                yield example_class().FromString(data).features.feature


def _loaded(export_dir: Path, input_type: str, params: cfg.ExperimentConfig, is_detector: bool) -> Infer:
    """What the exported model makes of one encoded image."""
    if input_type == "tflite":
        return _tflite(export_dir / TFLITE_NAME, params, is_detector)
    signature = tf.saved_model.load(str(export_dir)).signatures["serving_default"]
    (specification,) = signature.structured_input_signature[1].values()
    copies = specification.shape[0] or 1

    def infer(data: bytes) -> Mapping[str, np.ndarray]:
        one = tf.constant(data) if input_type == "image_bytes" else tf.constant(_pixels(data))
        outputs = signature(inputs=tf.stack([one] * copies))
        return {name: value.numpy()[:1] for name, value in outputs.items()}

    return infer


def _tflite(path: Path, params: cfg.ExperimentConfig, is_detector: bool) -> Infer:
    """A TFLite model takes images that have gone through the preprocessing of the SavedModel."""
    interpreter = tf.lite.Interpreter(str(path))
    runner = interpreter.get_signature_runner()
    kind = detection.DetectionModule if is_detector else image_classification.ClassificationModule
    module = kind(
        params=params,
        batch_size=1,
        input_image_size=list(params.task.model.input_size[:2]),
        input_type="image_tensor",
        # Never run: the preprocessing alone is wanted.
        model=tf_keras.Sequential(),
    )

    def infer(data: bytes) -> Mapping[str, np.ndarray]:
        prepared = module._build_inputs(tf.constant(_pixels(data)))
        image, info = (prepared[0], prepared[2]) if is_detector else (prepared, None)
        outputs = dict(runner(inputs=image.numpy()[None]))
        if info is not None:
            outputs["image_info"] = info.numpy()[None]
        return outputs

    return infer


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _accuracy(infer: Infer, examples: Sequence[Any]) -> float:
    right = 0
    for features in examples:
        outputs = infer(features[IMAGE_FIELD].bytes_list.value[0])
        right += int(np.argmax(outputs["logits"]) == features[LABEL_FIELD].int64_list.value[0])
    return right / len(examples)


def _average_precision(infer: Infer, examples: Sequence[Any]) -> float:
    """COCO's AP; boxes come in pixels of the resized image, as `image_info` tells."""
    evaluator = coco_evaluator.COCOEvaluator(annotation_file=None, include_mask=False)
    for number, features in enumerate(examples):
        data = features[IMAGE_FIELD].bytes_list.value[0]
        outputs = dict(infer(data))
        height, width = _pixels(data).shape[:2]
        xmin, xmax, ymin, ymax = (np.array(features[name].float_list.value) for name in BOX_FIELDS)
        boxes = np.stack([ymin * height, xmin * width, ymax * height, xmax * width], axis=-1)
        labels = np.array(features[OBJECT_LABEL_FIELD].int64_list.value)
        truth = {
            "source_id": [number],
            "height": [height],
            "width": [width],
            "num_detections": [len(labels)],
            "boxes": boxes[None].astype(np.float32),
            "classes": labels[None],
        }
        found = {"source_id": [number], **{name: outputs[name] for name in _DETECTIONS}}
        evaluator.update_state(
            {name: tf.constant(value) for name, value in truth.items()},
            {name: tf.constant(value) for name, value in found.items()},
        )
    return float(evaluator.result()["AP"])


if __name__ == "__main__":
    sys.exit(main())
