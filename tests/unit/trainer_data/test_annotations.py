"""`prepare_data` from COCO, Pascal VOC, a parser of one's own and TFDS, and what may be wrong with each."""

import json

import pytest
from PIL import Image

from nas_trainer.data.records import check_records
from nas_trainer.data.tfrecord import example_class, read_records
from nas_trainer.prepare_data import main


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (40, 20), (number * 60, 0, 0)).save(folder / f"{number}.png")
    return folder


def coco(tmp_path, **changes):
    content = {
        "images": [{"id": 10 + number, "file_name": f"{number}.png"} for number in range(4)],
        # Ids with gaps and out of order, as COCO's own have.
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 10 + number, "category_id": 90 if number % 2 else 3, "bbox": [4, 2, 20, 10]}
            for number in range(4)
        ],
    }
    content.update(changes)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def prepare(tmp_path, *arguments):
    return main(
        [*arguments, f"--output_dir={tmp_path / 'out'}", "--num_shards=1", "--validation_fraction=0.25"]
    )


def written(tmp_path):
    """Features of all records, by name of their field's end."""
    found = []
    for path in sorted((tmp_path / "out").glob("*.tfrecord")):
        with path.open("rb") as file:
            found += [example_class().FromString(data).features.feature for data in read_records(file)]
    return found


def boxes(features):
    sides = (
        features[f"image/object/bbox/{side}"].float_list.value for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return [tuple(round(value, 4) for value in box) for box in zip(*sides, strict=True)]


def test_coco_becomes_records_with_labels_in_the_order_of_the_ids(tmp_path, images):
    assert prepare(tmp_path, f"--coco_annotations={coco(tmp_path)}", f"--image_dir={images}") == 0
    records = written(tmp_path)
    assert len(records) == 4
    assert {box for record in records for box in boxes(record)} == {(0.1, 0.1, 0.6, 0.6)}
    labels = sorted(record["image/object/class/label"].int64_list.value[0] for record in records)
    assert labels == [1, 1, 2, 2]
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["num_classes"] == 3
    assert [(entry["label"], entry["name"]) for entry in described["classes"]] == [(1, "cat"), (2, "dog")]
    summary = check_records(str(tmp_path / "out" / "*.tfrecord"), num_classes=3, flag="x", has_boxes=True)
    assert summary.records == 4


def test_boxes_of_crowds_and_boxes_without_size_are_left_out_and_counted(tmp_path, images, capsys):
    path = coco(
        tmp_path,
        annotations=[
            {"image_id": 10, "category_id": 3, "bbox": [30, 10, 100, 100]},
            {"image_id": 10, "category_id": 3, "bbox": [1, 1, 0, 5]},
            {"image_id": 11, "category_id": 3, "bbox": [1, 1, 5, 5], "iscrowd": 1},
        ],
    )
    assert prepare(tmp_path, f"--coco_annotations={path}", f"--image_dir={images}") == 0
    errors = capsys.readouterr().err
    assert "left out 1 boxes of crowds" in errors
    assert "left out 1 boxes less than a pixel" in errors
    # What lies beyond the image is cut off.
    assert [box for record in written(tmp_path) for box in boxes(record)] == [(0.75, 0.5, 1.0, 1.0)]


def test_missing_images_are_an_error_unless_they_are_to_be_skipped(tmp_path, images, capsys):
    (images / "2.png").unlink()
    arguments = [f"--coco_annotations={coco(tmp_path)}", f"--image_dir={images}"]
    assert prepare(tmp_path, *arguments) == 1
    assert "1 of 4 images are not in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert prepare(tmp_path, *arguments, "--skip_missing_images=True") == 0
    assert len(written(tmp_path)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": []}, "annotation 0 (counted from 0): found category 3"),
        ({"annotations": [{"image_id": 10, "category_id": 3, "bbox": [1, 2]}]}, "expected a known category"),
        ({"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, "KeyError: 99"),
        ({"images": None}, "is no COCO file of instances"),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_named(tmp_path, images, capsys, changes, message):
    path = coco(tmp_path, **changes)
    assert prepare(tmp_path, f"--coco_annotations={path}", f"--image_dir={images}") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


VOC = """<annotation><filename>{number}.png</filename>
<object><name>{name}</name><bndbox><xmin>5</xmin><ymin>3</ymin><xmax>24</xmax><ymax>12</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def voc(tmp_path, images):
    folder = tmp_path / "voc"
    (folder / "Annotations").mkdir(parents=True)
    images.rename(folder / "JPEGImages")
    for number in range(4):
        text = VOC.format(number=number, name="dog" if number % 2 else "cat")
        (folder / "Annotations" / f"{number}.xml").write_text(text)
    return folder


def test_voc_becomes_records_counted_from_its_first_pixel(tmp_path, voc):
    assert prepare(tmp_path, f"--voc_dir={voc}") == 0
    records = written(tmp_path)
    assert {box for record in records for box in boxes(record)} == {(0.1, 0.1, 0.6, 0.6)}
    assert (tmp_path / "out" / "labels.txt").read_text() == "cat\ndog\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "is no annotation of Pascal VOC"),
        (
            VOC.format(number=0, name="cat").replace("<xmin>5</xmin>", ""),
            "found no <bndbox/xmin> in <object>",
        ),
        (VOC.format(number=0, name="cat").replace("5</xmin>", "x</xmin>"), "could not convert"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares a document type"),
        (VOC.format(number=9, name="cat"), "9.png cannot be read"),
    ],
)
def test_what_is_wrong_with_a_voc_file_is_named(tmp_path, voc, capsys, text, message):
    (voc / "Annotations" / "0.xml").write_text(text)
    assert prepare(tmp_path, f"--voc_dir={voc}") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


PARSER = """
from pathlib import Path
from nas_trainer.data.annotations import Record

def good():
    for number in range(4):
        yield Record(Path({images!r}) / f"{{number}}.png", [(4, 2, 24, 12)], ["cat"])

def uneven():
    return [Record(Path("a.png"), [(0, 0, 1, 1)], [])]

def not_finite():
    return [Record(Path({images!r}) / "0.png", [(0, 0, float("nan"), 1)], ["cat"])] * 2

def strange():
    return [1]

def broken():
    raise RuntimeError("no such camera")
"""


@pytest.fixture
def parser(tmp_path, images, monkeypatch):
    (tmp_path / "my_parser.py").write_text(PARSER.format(images=str(images)))
    monkeypatch.syspath_prepend(tmp_path)


def test_a_parser_of_ones_own_becomes_records(tmp_path, parser):
    assert prepare(tmp_path, "--parser=my_parser:good") == 0
    assert {box for record in written(tmp_path) for box in boxes(record)} == {(0.1, 0.1, 0.6, 0.6)}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("uneven", "record 0 (a.png): found 1 boxes and 0 classes"),
        ("not_finite", "expected four finite numbers"),
        ("strange", "record 0 is a int, expected a nas_trainer.data.annotations.Record"),
        ("broken", "RuntimeError: no such camera"),
        ("missing", "has no attribute 'missing'"),
    ],
)
def test_what_is_wrong_with_a_parser_is_named(tmp_path, parser, capsys, function, message):
    assert prepare(tmp_path, f"--parser=my_parser:{function}") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_tfds_set_that_is_not_on_this_machine_is_named(tmp_path, capsys):
    assert prepare(tmp_path, "--tfds_name=no_such_set", f"--tfds_data_dir={tmp_path}") == 1
    assert "--tfds_name: found no data set 'no_such_set'" in capsys.readouterr().err
    assert prepare(tmp_path, "--tfds_name=mnist", f"--tfds_data_dir={tmp_path}") == 1
    assert "mnist is not in" in capsys.readouterr().err


def test_a_tfds_set_becomes_records_of_classification(tmp_path):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=40):
        assert prepare(tmp_path, "--tfds_name=mnist") == 0
    summary = check_records(str(tmp_path / "out" / "*.tfrecord"), num_classes=10, flag="x")
    assert summary.records == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "found no source of images"),
        (["--coco_annotations=a.json"], "--image_dir: found nothing"),
        (["--image_dir=a", "--voc_dir=b"], "--image_dir and --voc_dir: found both"),
    ],
)
def test_a_source_is_named_once(tmp_path, capsys, arguments, message):
    assert prepare(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err
