"""`check_data`: what it counts, what it lists, and what it draws."""

import io
import json

import pytest
from PIL import Image

from nas_trainer.check_data import main
from nas_trainer.data.tfrecord import encode_example, write_record


def features(side=64, **changes):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "gray").save(buffer, "PNG")
    found = {
        "image/encoded": buffer.getvalue(),
        "image/height": side,
        "image/width": side,
        "image/object/bbox/xmin": [0.0, 0.5],
        "image/object/bbox/xmax": [0.4, 1.0],
        "image/object/bbox/ymin": [0.0, 0.0],
        "image/object/bbox/ymax": [0.4, 1.0],
        "image/object/class/label": [1, 2],
    }
    return found | {f"image/object/{name}": value for name, value in changes.items()}


@pytest.fixture
def records(tmp_path):
    def write(*examples):
        path = tmp_path / "train.tfrecord"
        with path.open("wb") as file:
            for example in examples:
                write_record(file, example if isinstance(example, bytes) else encode_example(example))
        return str(path)

    return write


def run(capsys, *arguments):
    code = main(["--model=retinanet", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_a_good_set_is_counted(records, capsys):
    code, found = run(capsys, f"--data_path={records(features(), features(side=128))}", "--num_classes=3")
    assert code == 0
    assert (found["records"], found["boxes"], found["num_defects"]) == (2, 4, 0)
    assert found["labels"] == {"1": 2, "2": 2}
    assert found["heights"] == [64, 128]
    # 26x26 and 32x64 pixels in the first image, twice that in the second.
    assert found["box_sizes"] == {"small": 1, "medium": 3, "large": 0}


def test_every_bad_record_is_listed_and_the_good_ones_counted(records, capsys):
    path = records(
        features(),
        features(**{"class/label": [1, 7]}),
        b"no example",
        features(**{"bbox/xmax": [0.4, 1.5]}),
    )
    code, found = run(capsys, f"--data_path={path}", "--num_classes=3")
    assert code == 1
    assert (found["records"], found["num_defects"], found["boxes"]) == (4, 3, 2)
    first, second, third = found["defects"]
    assert "record 1 (counted from 0), field image/object/class/label: found 7" in first
    assert "record 2 (counted from 0): is no tf.train.Example" in second
    assert "record 3 (counted from 0), field image/object/bbox/xmax: found 1.5" in third


def test_a_file_that_is_cut_off_is_a_defect_and_not_the_end(records, capsys, tmp_path):
    path = records(features(), features())
    with open(path, "r+b") as file:
        file.truncate(file.seek(0, 2) - 9)
    code, found = run(capsys, f"--data_path={path}")
    assert code == 1
    assert found["boxes"] == 2
    assert "record 1 (counted from 0): is cut off" in found["defects"][0]


def test_names_of_classes_come_from_the_file_beside_the_records(records, capsys, tmp_path):
    path = records(features())
    (tmp_path / "dataset.json").write_text(
        json.dumps({"num_classes": 3, "classes": [{"label": 1, "name": "cat"}, {"label": 2, "name": "dog"}]})
    )
    assert main(["--model=retinanet", f"--data_path={path}"]) == 0
    printed = capsys.readouterr().out
    assert "cat" in printed
    assert "dog" in printed
    assert "no bad record" in printed


def test_the_contact_sheet_has_a_coloured_box_per_object(records, capsys, tmp_path):
    sheet = tmp_path / "new" / "sheet.png"
    code, _ = run(capsys, f"--data_path={records(features())}", f"--contact_sheet={sheet}")
    assert code == 0
    picture = Image.open(sheet).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1_000_000)}
    # Grey image, white paper, and the colours of two classes.
    assert {(128, 128, 128), (255, 255, 255), (0xF9, 0x73, 0x16), (0x3B, 0x82, 0xF6)} <= colours


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data_path=no/such/*"], 1, "no/such"),
        (["--data_path=x", "--num_classes=0"], 2, "--num_classes: found 0"),
        (["--data_path=x", "--contact_sheet=a.jpg"], 2, "expected a file that ends in .png"),
    ],
)
def test_bad_usage_is_one_line(arguments, code, message, capsys):
    assert main(arguments) == code
    assert message in capsys.readouterr().err
