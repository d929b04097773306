"""TensorFlow, as a server would run the model: its default signature as a graph function."""

import sys
from typing import Any

from nas_latency.messages import InputOptions
from nas_latency.runtimes import UnusableModel, inputs

# A SavedModel runs without Keras, and TensorFlow without it is imported in half the time.
# Importing a module that is None in sys.modules raises ImportError, which TensorFlow expects.
for _package in ("keras", "tf_keras"):
    sys.modules.setdefault(_package, None)  # type: ignore[arg-type]

import tensorflow as tf  # noqa: E402

SIGNATURE = "serving_default"


class TensorFlowRuntime:
    """TensorFlow with `threads` threads for an operation, and one operation at a time."""

    def __init__(self, threads: int):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.constant(0)  # Starts the devices now, so that loading is charged with the model alone.

    def load(self, saved_model_dir: str) -> "TensorFlowModel":
        """See `Runtime.load`."""
        try:
            return TensorFlowModel(tf.saved_model.load(saved_model_dir))
        except (UnusableModel, MemoryError):
            raise
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(_in_words(error)) from error
        except Exception as error:  # A broken model raises whatever it likes.
            raise UnusableModel(f"cannot be loaded: {_in_words(error)}") from error


class TensorFlowModel:
    """A loaded SavedModel."""

    def __init__(self, loaded: Any):
        if SIGNATURE not in loaded.signatures:
            found = ", ".join(loaded.signatures) or "none"
            raise UnusableModel(f"found the signatures: {found}; expected {SIGNATURE!r}")
        # The signature holds its object weakly: without this reference its variables go away.
        self._loaded = loaded
        self._signature = loaded.signatures[SIGNATURE]
        self._inputs: dict[str, tf.Tensor] = {}

    def prepare(self, options: InputOptions) -> int:
        """See `LoadedModel.prepare`."""
        specs = self._signature.structured_input_signature[1]
        shapes = {
            name: None if spec.shape.rank is None else spec.shape.as_list() for name, spec in specs.items()
        }
        concrete, batch_size = inputs.concrete_shapes(shapes, options)
        for name, spec in specs.items():
            if spec.dtype == tf.string:
                # The Model Garden's `image_bytes` export takes a vector of encoded images.
                encoded = tf.io.encode_jpeg(inputs.random_image(options))
                self._inputs[name] = tf.fill(concrete[name], encoded)
            else:
                value = inputs.values(name, concrete[name], spec.dtype.name)
                self._inputs[name] = tf.constant(value, spec.dtype)
        return batch_size

    def infer(self) -> None:
        """See `LoadedModel.infer`."""
        try:
            for output in self._signature(**self._inputs).values():
                output.numpy()
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(_in_words(error)) from error
        except tf.errors.OpError as error:
            raise UnusableModel(f"raised {_in_words(error)}") from error


def create(threads: int) -> TensorFlowRuntime:
    """See `runtimes.create`."""
    return TensorFlowRuntime(threads)


def _in_words(error: Exception) -> str:
    """The line of TensorFlow's message that says what happened."""
    told = str(error).rpartition("<stack traces unavailable>")[2].strip()
    return f"{type(error).__name__}: {told.partition(chr(10))[0][:500]}"
