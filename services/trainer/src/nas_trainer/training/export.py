"""SavedModels that load without the Model Garden."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.vision.configs import retinanet
from official.vision.serving import detection, image_classification

from nas_trainer.training.files import new_directory

INPUT_TYPE = "image_tensor"
SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class ServingModel:
    """A model as it is served: uint8 images in (`inputs`); `logits` and `probs` out of a classifier.

    A detector gives `detection_boxes` (ymin, xmin, ymax, xmax in pixels of the image), `detection_scores`,
    `detection_classes` and `num_detections`.

    Preprocessing (crop, resize, normalise) is the library's and part of the SavedModel; the image
    size is left open. The function is traced once and saved as often as wanted with the weights the
    model has then. The Keras model itself is not saved: it would triple the time, and only the Model
    Garden could load it.

    Args:
        params: configuration the model was built from.
        model: shares its weights with the SavedModels.
        batch_size: images per inference; None leaves it open.
        input_type: `image_tensor`, `image_bytes` or `tflite` (normalised images of the trained size).
    """

    def __init__(
        self,
        params: cfg.ExperimentConfig,
        model: tf_keras.Model,
        batch_size: int | None,
        input_type: str = INPUT_TYPE,
    ):
        self.model = model
        is_detector = isinstance(params.task, retinanet.RetinaNetTask)
        module = (detection.DetectionModule if is_detector else image_classification.ClassificationModule)(
            params=params,
            batch_size=batch_size,
            input_image_size=list(params.task.model.input_size[:2]),
            input_type=input_type,
            model=model,
        )
        self._signatures = module.get_inference_signatures({input_type: SIGNATURE})
        self._saved = _Variables(model.variables)

    @property
    def graph(self) -> tf.Graph:
        """One inference, from image to probabilities."""
        return self._signatures[SIGNATURE].graph

    def save(self, path: Path) -> None:
        """Writes the SavedModel, whole or not at all.

        Raises:
            DiskFull: naming the directory.
        """
        with new_directory(path) as directory:
            tf.saved_model.save(self._saved, str(directory), signatures=self._signatures)


class _Variables(tf.Module):
    """The weights a signature uses; what is saved must be reachable from one object."""

    def __init__(self, variables: Sequence[tf.Variable]):
        super().__init__()
        self.model_variables = list(variables)
