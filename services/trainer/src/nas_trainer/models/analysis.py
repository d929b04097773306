"""How large a model is and how much it computes."""

import dataclasses
import math
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling import retinanet_model


@dataclasses.dataclass(frozen=True)
class ModelSize:
    """Size of a model.

    Attributes:
        parameters: all weights, with the moving statistics of the normalisation.
        trainable_parameters: weights the optimizer changes; what papers report.
        multiply_adds: of the convolutions and matrix products of one inference at batch size 1.
            Half of what is counted as FLOPs elsewhere.
    """

    parameters: int
    trainable_parameters: int
    multiply_adds: int


def model_size(model: tf_keras.Model, graph: tf.Graph) -> ModelSize:
    """Measures `model`, of which `graph` holds one inference with all shapes known."""
    return ModelSize(
        parameters=_count(model.weights),
        trainable_parameters=_count(model.trainable_weights),
        multiply_adds=multiply_adds(graph),
    )


def multiply_adds(graph: tf.Graph) -> int:
    """Multiply-adds of the convolutions and matrix products in a traced graph.

    The library's own count (`try_count_flops`) freezes and profiles the graph, which takes seconds,
    and adds element-wise operations; on the reference networks the two differ by 0.3 %.

    Raises:
        ValueError: if the graph leaves a size open.
    """
    return sum(_multiply_adds(op) for op in graph.get_operations())


def parameters_without_batch_norm(model: tf_keras.Model) -> int:
    """Weights of the convolutions and matrix products alone.

    Some tables count so, the 3.47M of MobileNetV2 among them: scale and offset of a batch
    normalisation vanish into the convolution before it when the model is served.
    """
    normalisations = (tf_keras.layers.BatchNormalization, tf_keras.layers.experimental.SyncBatchNormalization)
    vanishing = (layer for layer in model.submodules if isinstance(layer, normalisations))
    return _count(model.trainable_weights) - sum(_count(layer.trainable_weights) for layer in vanishing)


def inference_graph(model: tf_keras.Model, input_size: list[int]) -> tf.Graph:
    """One inference of `model` for a single image of `input_size` (height, width, channels)."""
    image = tf.TensorSpec([1, *input_size], tf.float32)
    # Outside training a detector also turns its outputs into boxes, for which it would want anchors.
    training = isinstance(model, retinanet_model.RetinaNetModel)
    infer = tf.function(lambda images: model(images, training=training), autograph=False)
    return infer.get_concrete_function(image).graph


def _count(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _multiply_adds(op: tf.Operation) -> int:
    if op.type == "Conv2D":
        height, width, inputs, _ = _shape(op.inputs[1])
        return math.prod(_shape(op.outputs[0])) * height * width * inputs
    if op.type == "DepthwiseConv2dNative":
        height, width, _, _ = _shape(op.inputs[1])
        return math.prod(_shape(op.outputs[0])) * height * width
    if op.type == "MatMul":
        rows_first = 0 if op.get_attr("transpose_a") else 1
        return math.prod(_shape(op.outputs[0])) * _shape(op.inputs[0])[rows_first]
    return 0


def _shape(tensor: tf.Tensor) -> list[int]:
    shape: list[int] = tensor.shape.as_list()
    if None in shape:
        raise ValueError(f"{tensor.name} has shape {shape}; expected every size to be known")
    return shape
