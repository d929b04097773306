"""prepare_data makes data the checks and the Model Garden accept, or leaves nothing behind."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_trainer import prepare_data
from nas_trainer.data import writer
from nas_trainer.data.records import check_records
from nas_trainer.data.tfrecord import example_class, read_records

COMMAND = [sys.executable, "-m", "nas_trainer.prepare_data"]


def _run(*flags: str) -> int:
    return prepare_data.main(flags)


def _save_image(path: Path, *, size: tuple[int, int] = (40, 30), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of two classes, with six cats and four dogs."""
    folder = tmp_path / "pets"
    for number in range(6):
        _save_image(folder / "cat" / f"{number}.jpg", seed=number)
    for number in range(4):
        _save_image(folder / "dog" / f"{number}.png", seed=10 + number)
    return folder


def _records(output_dir: Path, part: str) -> list[dict[str, object]]:
    found = []
    for path in sorted(output_dir.glob(f"{part}-*.tfrecord")):
        with path.open("rb") as file:
            for data in read_records(file):
                features = example_class().FromString(data).features.feature
                found.append(
                    {
                        name: (feature.bytes_list.value or feature.int64_list.value)[0]
                        for name, feature in features.items()
                    }
                )
    return found


def _names(output_dir: Path) -> list[str]:
    return sorted(path.name for path in output_dir.iterdir())


def _content(output_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output_dir.iterdir()}


def test_digits_are_whole_split_by_class_and_pass_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output_dir = tmp_path / "digits"
    assert _run("--dataset=digits", f"--output_dir={output_dir}") == 0

    assert _names(output_dir) == [
        "dataset.json",
        "labels.txt",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "validation-00000-of-00002.tfrecord",
        "validation-00001-of-00002.tfrecord",
    ]
    assert (output_dir / "labels.txt").read_text().split() == list("0123456789")
    counts = {}
    for part in ("train", "validation"):
        summary = check_records(f"{output_dir}/{part}-*.tfrecord", num_classes=10, flag=part)
        assert summary.classes_seen == set(range(10))
        counts[part] = Counter(record["image/class/label"] for record in _records(output_dir, part))
        assert summary.records == counts[part].total()
    assert counts["train"].total() + counts["validation"].total() == 1797
    for label in range(10):
        everything = counts["train"][label] + counts["validation"][label]
        assert counts["validation"][label] == round(0.2 * everything)

    description = json.loads((output_dir / "dataset.json").read_text())
    assert description["num_classes"] == 10
    assert description["train_images"] == counts["train"].total()
    assert description["classes"][3] == {
        "name": "3",
        "label": 3,
        "train": counts["train"][3],
        "validation": counts["validation"][3],
    }
    output, errors = capsys.readouterr()
    assert f"'training_data_path={output_dir}/train-*.tfrecord'" in output
    assert f"'validation_data_path={output_dir}/validation-*.tfrecord'" in output
    assert "1797 of 1797 images" in errors


def test_digits_are_the_scans_scaled_up(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    assert _run("--dataset=digits", f"--output_dir={tmp_path / 'digits'}") == 0
    scans = load_digits()
    found = Counter()
    for record in _records(tmp_path / "digits", "validation"):
        image = Image.open(io.BytesIO(record["image/encoded"]))  # type: ignore[arg-type]
        assert image.size == (32, 32)
        small = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float) * 16 / 255
        distances = np.abs(scans.images - small).mean(axis=(1, 2))
        found[int(scans.target[distances.argmin()]) == record["image/class/label"]] += 1
    assert found[False] == 0


def test_model_garden_parses_both_parts(pets: Path, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    from official.vision.dataloaders import classification_input

    outputs = {"pets": 2, "digits": 10}
    assert _run(f"--image_dir={pets}", f"--output_dir={tmp_path / 'out' / 'pets'}") == 0
    assert _run("--dataset=digits", f"--output_dir={tmp_path / 'out' / 'digits'}") == 0
    decoder = classification_input.Decoder()
    for name, num_classes in outputs.items():
        parser = classification_input.Parser(
            output_size=[32, 32], num_classes=num_classes, decode_jpeg_only=False
        )
        for part, is_training in (("train", True), ("validation", False)):
            files = sorted(tf.io.gfile.glob(f"{tmp_path}/out/{name}/{part}-*.tfrecord"))
            parse = parser.parse_fn(is_training)
            dataset = tf.data.TFRecordDataset(files).map(
                lambda record, parse=parse: parse(decoder.decode(record))
            )
            records = _records(tmp_path / "out" / name, part)
            labels = []
            for image, label in dataset:
                assert image.shape == (32, 32, 3)
                assert float(tf.math.reduce_std(image)) > 0
                labels.append(int(label))
            assert labels == [record["image/class/label"] for record in records]


def test_folder_classes_are_numbered_by_name_and_images_kept_byte_for_byte(
    pets: Path, tmp_path: Path
) -> None:
    output_dir = tmp_path / "out"
    assert _run(f"--image_dir={pets}", f"--output_dir={output_dir}", "--num_shards=1") == 0
    assert (output_dir / "labels.txt").read_text() == "cat\ndog\n"
    records = _records(output_dir, "train") + _records(output_dir, "validation")
    originals = {path.read_bytes(): path.parent.name for path in pets.rglob("*.*")}
    assert len(records) == len(originals) == 10
    for record in records:
        name = originals.pop(record["image/encoded"])  # type: ignore[arg-type]
        assert record["image/class/label"] == ("cat", "dog").index(name)
        assert (record["image/width"], record["image/height"]) == (40, 30)
    validation = Counter(r["image/class/label"] for r in _records(output_dir, "validation"))
    assert validation == {0: 1, 1: 1}


def test_no_image_is_in_both_parts_and_shards_share_them_evenly(tmp_path: Path) -> None:
    output_dir = tmp_path / "digits"
    assert _run("--dataset=digits", f"--output_dir={output_dir}", "--num_shards=5") == 0
    sizes = []
    for path in sorted(output_dir.glob("train-*-of-00005.tfrecord")):
        with path.open("rb") as file:
            sizes.append(len(list(read_records(file))))
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) <= 1


def test_same_seed_gives_the_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        flags = ("--dataset=digits", f"--seed={seed}", f"--output_dir={tmp_path / name}")
        assert _run(*flags) == 0
    assert _content(tmp_path / "one") == _content(tmp_path / "two")
    validation = "validation-00000-of-00002.tfrecord"
    one, other = (_content(tmp_path / name)[validation] for name in ("one", "other"))
    assert one != other


def test_image_size_sets_the_shorter_side_and_keeps_the_shape(pets: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "out"
    assert _run(f"--image_dir={pets}", f"--output_dir={output_dir}", "--image_size=15") == 0
    for record in _records(output_dir, "train"):
        image = Image.open(io.BytesIO(record["image/encoded"]))  # type: ignore[arg-type]
        assert image.size == (record["image/width"], record["image/height"]) == (20, 15)
        assert image.format == ("JPEG" if record["image/class/label"] == 0 else "PNG")


def test_images_a_trainer_cannot_read_are_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    for number, suffix in enumerate(("bmp", "gif", "webp", "tiff")):
        _save_image(folder / "a" / f"{number}.{suffix}", seed=number)
    cmyk = Image.new("CMYK", (40, 30), (200, 0, 100, 0))
    cmyk.save(folder / "a" / "cmyk.jpg")
    (folder / "b").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by 90 degrees.
    for number in range(2):
        Image.new("RGB", (40, 30), (255, 0, 0)).save(folder / "b" / f"{number}.jpg", exif=exif)
    (folder / "b" / "notes.txt").write_text("two turned photographs")
    (folder / "b" / ".DS_Store").write_text("hidden")

    assert _run(f"--image_dir={folder}", f"--output_dir={tmp_path / 'out'}", "--num_shards=1") == 0
    records = _records(tmp_path / "out", "train") + _records(tmp_path / "out", "validation")
    assert len(records) == 7
    for record in records:
        image = Image.open(io.BytesIO(record["image/encoded"]))  # type: ignore[arg-type]
        assert image.format in ("JPEG", "PNG")
        assert image.mode == "RGB"
        upright = (40, 30) if record["image/class/label"] == 0 else (30, 40)
        assert image.size == (record["image/width"], record["image/height"]) == upright
    errors = capsys.readouterr().err
    assert f"skipped 1 file(s) that are no images by their name, for example {folder}/b/notes.txt" in errors


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--validation_fraction=0"], "--validation_fraction: found 0, expected a number between 0 and 1"),
        (["--validation_fraction=1"], "--validation_fraction: found 1, expected"),
        (["--validation_fraction=nan"], "--validation_fraction: found nan, expected"),
        (["--validation_fraction=-0.5"], "--validation_fraction: found -0.5, expected"),
        (["--num_shards=0"], "--num_shards: found 0, expected 1 or more"),
        (["--num_shards=400"], "--num_shards: found 400, expected at most 359, the number of validation"),
        (["--image_size=-1"], "--image_size: found -1, expected 1 or more"),
    ],
)
def test_flag_out_of_range_is_bad_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    assert _run("--dataset=digits", f"--output_dir={tmp_path / 'out'}", *flags) == 2
    assert f"error: {expected}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--output_dir=out"],
        ["--dataset=digits"],
        ["--dataset=imagenet", "--output_dir=out"],
        ["--dataset=digits", "--image_dir=x", "--output_dir=out"],
        ["--dataset=digits", "--output_dir=out", "--seed=one"],
        ["--dataset=digits", "--output_dir=out", "--overwrite=perhaps"],
        ["--dataset=digits", "--output_dir=out", "--shards=3"],
    ],
)
def test_unknown_or_missing_flags_are_bad_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = _run(*flags)
    except SystemExit as error:  # argparse's own way out.
        code = error.code
    assert code == 2
    assert not list(tmp_path.iterdir())


def test_missing_image_dir_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(f"--image_dir={tmp_path}/gone", f"--output_dir={tmp_path}/out") == 1
    expected = f"error: --image_dir: {tmp_path}/gone does not exist, expected a directory\n"
    assert capsys.readouterr().err == expected


def test_folder_without_classes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _save_image(tmp_path / "flat" / "1.png")
    assert _run(f"--image_dir={tmp_path}/flat", f"--output_dir={tmp_path}/out") == 1
    assert "holds no folder, expected one folder of images per class" in capsys.readouterr().err


def test_class_without_images_is_named(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "fish").mkdir()
    assert _run(f"--image_dir={pets}", f"--output_dir={tmp_path}/out") == 1
    assert f"the class folder {pets}/fish holds no image" in capsys.readouterr().err


def test_class_with_one_image_is_named(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _save_image(pets / "fish" / "1.png")
    assert _run(f"--image_dir={pets}", f"--output_dir={tmp_path}/out") == 1
    assert "class 'fish' has 1 image, expected 2 or more" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_corrupt_image_is_named_and_nothing_is_left(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    broken = pets / "dog" / "2.png"
    broken.write_bytes(broken.read_bytes()[:900] if content is None else content)
    assert _run(f"--image_dir={pets}", f"--output_dir={tmp_path}/new/out") == 1
    errors = capsys.readouterr().err
    assert f"error: --image_dir: {broken}: found" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "new").exists()


def test_output_dir_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert _run("--dataset=digits", f"--output_dir={tmp_path}/file/out") == 1
    errors = capsys.readouterr().err
    assert f"error: --output_dir: {tmp_path}/file/out cannot be written (Not a directory)" in errors


def test_full_disk_is_named_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write_until_full(file: io.BufferedWriter, data: bytes) -> int:
        written.append(data)
        if len(written) > 100:
            raise OSError(28, "No space left on device")
        return file.write(data)

    monkeypatch.setattr(writer, "write_record", write_until_full)
    assert _run("--dataset=digits", f"--output_dir={tmp_path}/out") == 1
    assert "out cannot be written (No space left on device)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_that_is_there_is_replaced_only_on_request(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output_dir = tmp_path / "out"
    output_dir.mkdir()
    (output_dir / "notes.txt").write_text("mine")
    assert _run("--dataset=digits", f"--output_dir={output_dir}", "--num_shards=3") == 0
    before = _content(output_dir)

    assert _run(f"--image_dir={pets}", f"--output_dir={output_dir}", "--num_shards=1") == 1
    assert "already holds dataset.json" in capsys.readouterr().err
    assert _content(output_dir) == before

    flags = (f"--image_dir={pets}", f"--output_dir={output_dir}", "--num_shards=1", "--overwrite")
    assert _run(*flags) == 0
    # Nothing of the three shards that were there is left to be matched by train-*.tfrecord.
    assert _names(output_dir) == [
        "dataset.json",
        "labels.txt",
        "notes.txt",
        "train-00000-of-00001.tfrecord",
        "validation-00000-of-00001.tfrecord",
    ]
    assert _run(*flags[:-1], "--overwrite=False") == 1


def test_failed_overwrite_keeps_the_data_that_was_there(pets: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "out"
    assert _run("--dataset=digits", f"--output_dir={output_dir}") == 0
    before = _content(output_dir)
    (pets / "cat" / "3.jpg").write_bytes(b"damaged")
    assert _run(f"--image_dir={pets}", f"--output_dir={output_dir}", "--overwrite=True") == 1
    assert _content(output_dir) == before


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(pets: Path, tmp_path: Path, signal_number: signal.Signals) -> None:
    for number in range(150):  # Long enough to be met in the middle.
        _save_image(pets / "cat" / f"large-{number}.jpg", size=(1200, 900), seed=number % 2)
    output_dir = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, f"--image_dir={pets}", f"--output_dir={output_dir}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(output_dir.glob(".prepare_data-*/*.tfrecord")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; nothing was written"
    assert not output_dir.exists()


def test_bar_is_drawn_on_a_terminal_and_lines_elsewhere(tmp_path: Path) -> None:
    flags = [*COMMAND, "--dataset=digits"]
    plain = subprocess.run(
        [*flags, f"--output_dir={tmp_path}/plain"], check=True, capture_output=True, text=True, timeout=60
    )
    assert plain.stderr.splitlines()[-1] == "writing validation: 1797 of 1797 images"
    assert "\x1b" not in plain.stderr + plain.stdout

    terminal, terminal_of_child = pty.openpty()
    process = subprocess.Popen(
        [*flags, f"--output_dir={tmp_path}/bar"],
        stdout=subprocess.DEVNULL,
        stderr=terminal_of_child,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal_of_child)
    drawn = b""
    try:
        while part := os.read(terminal, 4096):
            drawn += part
    except OSError:  # Linux ends a terminal without a child this way.
        pass
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert b"1797/1797" in drawn
    assert b"\x1b" in drawn
