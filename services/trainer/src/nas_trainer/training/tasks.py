"""The library's tasks, fit for a process that does many short trials."""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras
from official.core import base_task
from official.core import config_definitions as cfg
from official.vision.configs import retinanet as retinanet_config
from official.vision.modeling import factory
from official.vision.tasks import image_classification, retinanet

_DETECTION_METRICS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl"),
)


class _WithoutTuning:
    """The library's input, without the thread that tunes it.

    That thread sleeps for up to a minute at a time, and an iterator cannot be freed while it does: a warm
    worker would wait there after every trial (see also `Devices.strategy`).
    """

    def build_inputs(
        self, params: cfg.DataConfig, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Batches for training or evaluation."""
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset: tf.data.Dataset = super().build_inputs(params, input_context)  # type: ignore[misc]
        return dataset.with_options(options)


class ClassificationTask(_WithoutTuning, image_classification.ImageClassificationTask):
    """Image classification."""

    def build_model(self) -> tf_keras.Model:
        """The library's model, not run a second time to be built: a functional model is built."""
        config = self.task_config
        decay = config.losses.l2_weight_decay
        model = factory.build_classification_model(
            input_specs=tf_keras.layers.InputSpec(shape=[None, *config.model.input_size]),
            model_config=config.model,
            # Half, as the library does: Keras has no 1/2 in front of the square.
            l2_regularizer=tf_keras.regularizers.l2(decay / 2.0) if decay else None,
        )
        if config.freeze_backbone:
            model.backbone.trainable = False
        return model


class DetectionTask(_WithoutTuning, retinanet.RetinaNetTask):
    """Object detection with a RetinaNet."""

    def build_model(self) -> tf_keras.Model:
        """The library's model, run once: before that its head has no weights."""
        model = super().build_model()
        # In training mode, which needs neither anchors nor suppression of boxes; weights stay as they are but
        # for the moving statistics, which are put back.
        statistics = [(variable, variable.numpy()) for variable in model.non_trainable_weights]
        model(tf.zeros([1, *self.task_config.model.input_size]), training=True)
        for variable, value in statistics:
            variable.assign(value)
        return model


def of(config: cfg.TaskConfig, logging_dir: str | None = None) -> base_task.Task:
    """The task of a configuration."""
    kind = DetectionTask if isinstance(config, retinanet_config.RetinaNetTask) else ClassificationTask
    return kind(config, logging_dir=logging_dir)


def evaluated(config: cfg.TaskConfig) -> frozenset[str]:
    """Names of the metrics that an evaluation gives."""
    if isinstance(config, retinanet_config.RetinaNetTask):
        return frozenset({*_DETECTION_METRICS, "validation_loss"})
    return frozenset({"top_1_accuracy", f"top_{config.evaluation.top_k}_accuracy", "validation_loss"})


def named(output: Mapping[str, tf.Tensor]) -> dict[str, float]:
    """Evaluation results under the names of the contract.

    COCO's evaluation says -1 where no object is of a size; such a metric is left out.
    """
    found = {
        {"accuracy": "top_1_accuracy"}.get(name, name): float(value)
        for name, value in output.items()
        if name != "steps_per_second"
    }
    return {name: value for name, value in found.items() if name not in _DETECTION_METRICS or value >= 0}
