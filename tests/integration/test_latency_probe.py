"""Real SavedModels through the real child process: what is measured, and every way to fail."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nas_latency.calculator import Calculator
from nas_latency.messages import Failure, InputOptions, MeasureError, MeasureRequest

# Built in a process of its own, so that the tests' process stays free of TensorFlow.
BUILD_MODELS = """
import sys
sys.modules["keras"] = None  # Not needed, and slow to import.
import tensorflow as tf

def save(name, function, *specs):
    module = tf.Module()
    module.serve = tf.function(function, input_signature=[spec for spec in specs])
    module.weights = tf.Variable(tf.ones([3, 3, 3, 8]))
    tf.saved_model.save(module, f"{sys.argv[1]}/{name}", signatures=module.serve)

kernel = tf.constant(0.1, shape=[3, 3, 3, 16])

def classify(inputs):
    features = tf.nn.conv2d(tf.cast(inputs, tf.float32), kernel, 1, "SAME")
    return {"logits": tf.reduce_mean(features, [1, 2])}

def classify_bytes(inputs):
    decode = lambda image: tf.io.decode_jpeg(image, channels=3)
    images = tf.map_fn(decode, inputs, fn_output_signature=tf.TensorSpec([48, 64, 3], tf.uint8))
    return classify(images)

def deeper(inputs):
    features = tf.image.resize(tf.cast(inputs, tf.float32), [256, 256])
    for _ in range(4):
        features = tf.nn.conv2d(tf.nn.conv2d(features, kernel, 1, "SAME"), kernel2, 1, "SAME")
    return {"logits": tf.reduce_mean(features, [1, 2])}

kernel2 = tf.constant(0.1, shape=[3, 3, 16, 3])

def loop(inputs):
    forever = tf.while_loop(lambda x: tf.reduce_sum(x) >= 0, lambda x: (x + 1 - 1,), [inputs])
    return {"y": forever[0]}

def crash(inputs):
    with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the model gives up")]):
        return {"y": inputs + 1}

def refuse(inputs):
    tf.debugging.assert_less(inputs, -1.0, message="all values are too large")
    return {"y": inputs}

def print_much(inputs):
    tf.print("a line that is no report", inputs, output_stream=sys.stdout)
    return {"y": inputs}

def allocate(inputs):
    many = tf.cast(tf.reduce_sum(inputs) * 0, tf.int32) + 2_000_000_000
    return {"y": tf.reduce_sum(tf.fill([many, 8], tf.reduce_sum(inputs)))}

save("image", classify, tf.TensorSpec([1, 32, 32, 3], tf.uint8, name="inputs"))
save("open_image", classify, tf.TensorSpec([None, None, None, 3], tf.uint8, name="inputs"))
save("image_bytes", classify_bytes, tf.TensorSpec([None], tf.string, name="inputs"))
save("deeper", deeper, tf.TensorSpec([1, 32, 32, 3], tf.uint8, name="inputs"))
vector = tf.TensorSpec([1, 4], tf.float32, name="inputs")
for name, function in [("loop", loop), ("crash", crash), ("refuse", refuse), ("prints", print_much),
                       ("allocates", allocate)]:
    save(name, function, vector)
tf.saved_model.save(tf.Module(), f"{sys.argv[1]}/no_signature")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    built = subprocess.run(
        [sys.executable, "-c", BUILD_MODELS, str(directory)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="module")
def calculator(tmp_path_factory):
    lock_dir = tmp_path_factory.mktemp("locks")
    return Calculator(lock_dir=str(lock_dir), memory_limit_bytes=4 * 10**9)


def failure_of(calculator, directory, **options):
    with pytest.raises(MeasureError) as error:
        calculator.measure(MeasureRequest(str(directory), **options))
    assert str(directory) in str(error.value)
    return error.value.failure, str(error.value)


@pytest.fixture(scope="module")
def small(calculator, models):
    inputs = InputOptions(image_height=512, image_width=512)  # The signature overrules it.
    return calculator.measure(MeasureRequest(str(models / "image"), inputs=inputs, repetitions=40))


def test_every_figure_of_a_real_model_makes_sense(small):
    assert small.count == 40
    assert small.warmup_count >= 10
    assert 0 < small.latency_min_ms <= small.latency_p50_ms <= small.latency_p90_ms
    assert small.latency_min_ms <= small.latency_mean_ms
    assert small.latency_std_ms >= 0
    assert small.first_inference_ms > small.latency_min_ms
    assert small.load_ms > 0
    assert 0 < small.memory_bytes < 2 * 10**9
    assert (small.batch_size, small.runtime) == (1, "tensorflow")


def test_more_work_and_more_memory_show_in_the_figures(calculator, models, small):
    large = calculator.measure(MeasureRequest(str(models / "deeper"), repetitions=10))
    assert large.latency_p50_ms > 3 * small.latency_p50_ms
    # A 256x256x16 activation alone is 4 MB.
    assert large.memory_bytes > small.memory_bytes + 4_000_000


def test_open_signature_takes_size_and_batch_from_the_options(calculator, models):
    inputs = InputOptions(batch_size=3, image_height=24, image_width=40)
    request = MeasureRequest(str(models / "open_image"), inputs=inputs, repetitions=5)
    assert calculator.measure(request).batch_size == 3


def test_open_signature_without_a_size_names_the_option(calculator, models):
    failure, message = failure_of(calculator, models / "open_image")
    assert failure is Failure.INVALID_OPTIONS
    assert "image_height: not given, but input 'inputs' of the model has the open shape" in message


def test_encoded_images_are_made_in_the_given_size(calculator, models):
    inputs = InputOptions(batch_size=2, image_height=48, image_width=64)
    request = MeasureRequest(str(models / "image_bytes"), inputs=inputs, repetitions=5)
    assert calculator.measure(request).batch_size == 2


def test_prints_of_a_model_do_not_get_between_the_reports(calculator, models):
    assert calculator.measure(MeasureRequest(str(models / "prints"), repetitions=5)).count == 5


def test_garbage_is_an_invalid_model(calculator, models):
    garbage = models / "garbage"
    garbage.mkdir()
    (garbage / "saved_model.pb").write_bytes(b"\x00\x01no proto" * 100)
    failure, message = failure_of(calculator, garbage)
    assert failure is Failure.INVALID_MODEL
    assert "cannot be loaded" in message


def test_model_without_a_signature_is_named(calculator, models):
    failure, message = failure_of(calculator, models / "no_signature")
    assert failure is Failure.INVALID_MODEL
    assert "found the signatures: none; expected 'serving_default'" in message


def test_model_that_raises_says_what(calculator, models):
    failure, message = failure_of(calculator, models / "refuse")
    assert failure is Failure.INVALID_MODEL
    assert "all values are too large" in message


def test_model_that_aborts_is_a_crash_with_its_last_words(calculator, models):
    failure, message = failure_of(calculator, models / "crash")
    assert failure is Failure.CRASHED
    assert "was killed by SIGABRT while running the first inferences" in message
    assert "the model gives up" in message


def test_model_that_takes_more_memory_than_allowed_is_named(calculator, models):
    failure, _ = failure_of(calculator, models / "allocates")
    assert failure is Failure.OUT_OF_MEMORY


def test_model_that_never_ends_is_killed(calculator, models):
    start = time.monotonic()
    failure, message = failure_of(calculator, models / "loop", timeout_seconds=10.0)
    assert failure is Failure.TIMED_OUT
    assert time.monotonic() - start < 20
    assert "took longer than 10 s" in message
    # It was killed, not left behind: nothing of ours runs any more.
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert children == []
