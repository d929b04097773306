"""From a trial's configuration and checkpoint to a model that is served."""

from pathlib import Path
from typing import Any

import tensorflow as tf
import yaml
from official.core import config_definitions as cfg
from official.core import exp_factory

from nas_trainer import retrain
from nas_trainer.errors import ConfigError
from nas_trainer.export_saved_model import TFLITE_NAME
from nas_trainer.training import classification, detection
from nas_trainer.training.export import ServingModel
from nas_trainer.training.files import new_directory
from nas_trainer.training.trial import build_model, fresh_session

_KINDS = (classification, detection)


def read_params(path: Path) -> cfg.ExperimentConfig:
    """The configuration in a trial's `params.yaml`.

    Raises:
        ConfigError: it is none.
    """
    try:
        tree: Any = yaml.safe_load(path.read_text("utf-8"))
        backbone = tree["task"]["model"]["backbone"]["type"]
        kind = next(kind for kind in _KINDS if backbone == kind.BACKBONE)
        params = exp_factory.get_exp_config(kind.EXPERIMENT)
        params.override(tree, is_strict=True)
    except (OSError, KeyError, TypeError, ValueError, StopIteration, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"{path} is no params.yaml of a trial: {reason}") from error
    return params


def export(
    params_file: Path, checkpoint: str, export_dir: Path, *, input_type: str, batch_size: int | None
) -> None:
    """Writes the model of a checkpoint to `export_dir`, whole or not at all.

    Args:
        params_file: of the trial.
        checkpoint: its prefix, or a directory whose newest one counts.
        export_dir: replaced when it exists.
        input_type: `image_tensor`, `image_bytes` or `tflite`.
        batch_size: images per inference; None leaves it open.
    Raises:
        ConfigError: no such configuration or checkpoint, or one of another network.
        ModelError: the network cannot be built.
    """
    params = read_params(params_file)
    prefix = tf.train.latest_checkpoint(checkpoint) if Path(checkpoint).is_dir() else checkpoint
    if prefix is None or not Path(f"{prefix}.index").exists():
        raise ConfigError(
            f"--checkpoint_path: found no checkpoint {checkpoint}; expected one, or a trial's directory"
        )
    with fresh_session(params):
        model = build_model(params)
        retrain.check_fits(model, prefix, "--checkpoint_path")
        retrain.restore(model, prefix)
        if input_type != "tflite":
            ServingModel(params, model, batch_size, input_type).save(export_dir)
            return
        served = ServingModel(params, model, batch_size or 1, input_type)
        with new_directory(export_dir) as directory:
            served.save(directory / "saved_model")
            converter = tf.lite.TFLiteConverter.from_saved_model(str(directory / "saved_model"))
            # Suppression of boxes has no TFLite operation of its own.
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS,
                tf.lite.OpsSet.SELECT_TF_OPS,
            ]
            (directory / TFLITE_NAME).write_bytes(converter.convert())
