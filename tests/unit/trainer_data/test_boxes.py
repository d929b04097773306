"""Records of detection: what is wrong with a box, and the scenes that are built in."""

import io

import numpy as np
import pytest
from PIL import Image

from nas_trainer.data.files import DataError
from nas_trainer.data.records import check_records
from nas_trainer.data.scenes import DigitScenes
from nas_trainer.data.tfrecord import encode_example, write_record


def png(size=8):
    buffer = io.BytesIO()
    Image.new("RGB", (size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def features(**changes):
    found = {
        "image/encoded": png(),
        "image/height": 8,
        "image/width": 8,
        "image/object/bbox/xmin": [0.1, 0.5],
        "image/object/bbox/xmax": [0.4, 1.0],
        "image/object/bbox/ymin": [0.0, 0.5],
        "image/object/bbox/ymax": [0.4, 0.9],
        "image/object/class/label": [1, 3],
    }
    found.update({f"image/object/{name}": value for name, value in changes.items()})
    return {name: value for name, value in found.items() if value is not None}


def check(tmp_path, *records):
    path = tmp_path / "train.tfrecord"
    with path.open("wb") as file:
        for record in records:
            write_record(file, encode_example(record))
    return check_records(str(path), num_classes=4, flag="training_data_path", has_boxes=True)


def test_records_with_boxes_are_counted_with_their_classes(tmp_path):
    empty = features(
        **{f"bbox/{side}": [] for side in ("xmin", "xmax", "ymin", "ymax")}, **{"class/label": []}
    )
    summary = check(tmp_path, features(), empty)
    assert summary.records == 2
    assert summary.classes_seen == {1, 3}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"bbox/xmax": [0.4, 1.2]}, "bbox/xmax", "found 1.2 for object 1, expected a coordinate from 0 to 1"),
        ({"bbox/ymin": [-0.1, 0.5]}, "bbox/ymin", "found -0.1 for object 0"),
        ({"bbox/xmin": [float("nan"), 0.5]}, "bbox/xmin", "found nan for object 0"),
        (
            {"bbox/xmax": [0.05, 1.0]},
            "bbox/xmax",
            "found 0.05 for object 0, expected more than its .*xmin 0.1",
        ),
        ({"bbox/ymax": [0.4, 0.5]}, "bbox/ymax", "found 0.5 for object 1, expected more than its .*ymin 0.5"),
        ({"bbox/xmin": [0.1]}, "bbox/xmin", "found 1 values with 2 labels, expected as many of both"),
        ({"class/label": [0, 3]}, "class/label", "found 0 for object 0, expected a class from 1 to 3"),
        ({"class/label": [1, 4]}, "class/label", "found 4 for object 1, expected a class from 1 to 3"),
        ({"class/label": [1.0, 2.0]}, "class/label", r"found 2 float value\(s\), expected int64 values"),
        ({"bbox/xmin": None}, "bbox/xmin", "is missing, expected float values; the record has"),
    ],
)
def test_a_wrong_box_is_named_with_file_record_and_field(tmp_path, changes, field, message):
    with pytest.raises(DataError, match=message) as error:
        check(tmp_path, features(), features(**changes))
    assert "training_data_path" in str(error.value)
    assert "train.tfrecord, record 1 (counted from 0)" in str(error.value)
    assert f"field image/object/{field}" in str(error.value)


def test_a_set_without_a_single_box_is_refused(tmp_path):
    empty = features(
        **{f"bbox/{side}": [] for side in ("xmin", "xmax", "ymin", "ymax")}, **{"class/label": []}
    )
    with pytest.raises(DataError, match="found no box in 2 records"):
        check(tmp_path, empty, empty)


def test_scenes_are_a_function_of_their_seed_and_keep_the_digits_of_the_parts_apart():
    scenes, again = (DigitScenes(20, 128, validation_fraction=0.2, seed=4) for _ in range(2))
    assert [scenes.read(i) for i in (0, 19)] == [again.read(i) for i in (0, 19)]
    assert scenes.read(0) != DigitScenes(20, 128, validation_fraction=0.2, seed=5).read(0)
    assert (len(scenes.train), len(scenes.validation)) == (16, 4)
    train, validation = scenes._pools
    assert not set(train) & set(validation)
    assert len(train) + len(validation) == 1797


def test_every_box_of_a_scene_holds_ink_and_overlaps_no_other():
    scenes = DigitScenes(20, 128, validation_fraction=0.2, seed=4)
    seen = set()
    for index in range(20):
        scene = scenes.read(index)
        pixels = np.asarray(Image.open(io.BytesIO(scene.data)), dtype=float)
        assert pixels.shape == (128, 128, 3)
        taken = np.zeros((128, 128), int)
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            left, top, right, bottom = (
                round(side * 128) for side in (box.xmin, box.ymin, box.xmax, box.ymax)
            )
            taken[top:bottom, left:right] += 1
            assert np.ptp(pixels[top:bottom, left:right].mean(-1)) > 40
            seen.add(label)
        assert taken.max() == 1
    assert seen <= set(range(1, 11))
    assert len(seen) > 5
