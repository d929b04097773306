"""Inputs are read from the signature; the options fill in only what it leaves open."""

import numpy as np
import pytest

from nas_latency.messages import InputOptions
from nas_latency.runtimes import UnusableModel, UnusableOptions
from nas_latency.runtimes.inputs import concrete_shapes, random_image, values


def test_fixed_signature_is_taken_as_it_is():
    shapes = {"inputs": [1, 32, 32, 3]}
    # The command line always sends an image size, which a fixed signature overrules.
    options = InputOptions(image_height=512, image_width=512)
    assert concrete_shapes(shapes, options) == ({"inputs": (1, 32, 32, 3)}, 1)


def test_open_sizes_are_filled_in_from_the_options():
    options = InputOptions(batch_size=4, image_height=96, image_width=128)
    assert concrete_shapes({"x": [None, None, None, 3]}, options) == ({"x": (4, 96, 128, 3)}, 4)
    assert concrete_shapes({"x": [None, 10], "y": [None]}, options) == ({"x": (4, 10), "y": (4,)}, 4)


def test_batch_is_one_unless_signature_or_options_say_otherwise():
    assert concrete_shapes({"x": [None, 8]}, InputOptions()) == ({"x": (1, 8)}, 1)
    assert concrete_shapes({"x": [8, 4, 4, 3]}, InputOptions()) == ({"x": (8, 4, 4, 3)}, 8)
    mixed = {"x": [8, 4, 4, 3], "ids": [None]}
    assert concrete_shapes(mixed, InputOptions()) == ({"x": (8, 4, 4, 3), "ids": (8,)}, 8)


def test_input_without_a_batch_is_one_per_inference():
    assert concrete_shapes({"x": [3, 5], "scalar": []}, InputOptions()) == ({"x": (3, 5), "scalar": ()}, 1)
    with pytest.raises(UnusableOptions, match="batch_size: found 2, but no input"):
        concrete_shapes({"x": [3, 5]}, InputOptions(batch_size=2))


def test_batch_that_contradicts_the_signature_is_named():
    with pytest.raises(UnusableOptions, match="batch_size: found 8; input 'x' of the model takes 1"):
        concrete_shapes({"x": [1, 4, 4, 3]}, InputOptions(batch_size=8))


@pytest.mark.parametrize(
    ("options", "missing"),
    [(InputOptions(), "image_height"), (InputOptions(image_height=32), "image_width")],
)
def test_open_image_size_without_option_names_the_option(options, missing):
    with pytest.raises(UnusableOptions, match=rf"{missing}: not given, .* open shape \[\?, \?, \?, 3\]"):
        concrete_shapes({"x": [None, None, None, 3]}, options)


def test_open_size_that_no_option_names_is_refused():
    options = InputOptions(image_height=32, image_width=32)
    with pytest.raises(UnusableModel, match=r"input 'x' has the open shape \[1, 32, 32, \?\]"):
        concrete_shapes({"x": [1, 32, 32, None]}, options)
    with pytest.raises(UnusableModel, match=r"input 'ids' has the open shape \[\?, \?\]"):
        concrete_shapes({"ids": [None, None]}, options)
    with pytest.raises(UnusableModel, match="unknown number of dimensions"):
        concrete_shapes({"x": None}, options)


def test_values_are_the_same_every_time():
    for dtype in ("uint8", "float32", "int64", "bool"):
        first, second = (values("x", (2, 8, 8, 3), dtype) for _ in range(2))
        assert first.dtype == np.dtype(dtype)
        assert first.shape == (2, 8, 8, 3)
        np.testing.assert_array_equal(first, second)
        assert len(np.unique(first)) > 1


def test_pixels_take_the_whole_range_and_ids_stay_small():
    pixels = values("x", (64, 64, 3), "uint8")
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert set(np.unique(values("ids", (1000,), "int32"))) == {0, 1}


def test_unknown_type_is_named():
    with pytest.raises(UnusableModel, match="input 'x' has dtype complex64"):
        values("x", (1,), "complex64")


def test_encoded_image_needs_a_size():
    assert random_image(InputOptions(image_height=8, image_width=16)).shape == (8, 16, 3)
    with pytest.raises(UnusableOptions, match="image_width: not given"):
        random_image(InputOptions(image_height=8))
