"""Bad training data is refused with the file, the record, the field, what was found and expected."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from nas_trainer.data import records as records_module
from nas_trainer.data.records import DataError, check_records
from nas_trainer.data.tfrecord import encode_example, example_class, write_record

FLAG = "training_data_path"


def _image(image_format: str = "PNG", seed: int = 0, size: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def _features(**changes: Any) -> dict[str, Any]:
    features: dict[str, Any] = {
        "image/encoded": _image(),
        "image/height": 16,
        "image/width": 16,
        "image/class/label": 1,
    }
    for name, value in changes.items():
        features[name.replace("__", "/")] = value
    return features


def _without(field: str) -> bytes:
    features = _features()
    del features[field]
    return encode_example(features)


def _emptied(field: str, kind: str) -> bytes:
    example = example_class().FromString(_without(field))
    getattr(example.features.feature[field], kind).SetInParent()
    return bytes(example.SerializeToString())


def _doubled(field: str) -> bytes:
    example = example_class().FromString(encode_example(_features()))
    example.features.feature[field].int64_list.value.append(1)
    return bytes(example.SerializeToString())


def _write(path: Path, records: Sequence[bytes]) -> Path:
    with path.open("wb") as file:
        for record in records:
            write_record(file, record)
    return path


def _good(label: int = 1) -> bytes:
    return encode_example(_features(image__class__label=label))


def _check(pattern: Path | str, **options: Any) -> records_module.RecordsSummary:
    return check_records(str(pattern), **{"num_classes": 3, "flag": FLAG, **options})


def test_good_files_are_counted(tmp_path: Path) -> None:
    first = _write(tmp_path / "train-0.tfrecord", [_good(0), _good(2)])
    second = _write(tmp_path / "train-1.tfrecord", [_good(2)])
    summary = _check(tmp_path / "train-*.tfrecord")
    assert summary.files == (str(first), str(second))
    assert (summary.records, summary.decoded_images) == (3, 3)
    assert summary.classes_seen == {0, 2}


def test_files_and_globs_may_be_joined_by_commas(tmp_path: Path) -> None:
    files = [_write(tmp_path / f"{name}.tfrecord", [_good()]) for name in ("b", "a1", "a2")]
    pattern = f" {files[0]} , {tmp_path}/a?.tfrecord,{files[1]},"
    assert _check(pattern).files == tuple(str(path) for path in files)


def test_extra_fields_are_ignored(tmp_path: Path) -> None:
    record = encode_example({**_features(), "image/class/text": b"cat", "image/score": 0.5})
    assert _check(_write(tmp_path / "a", [record])).records == 1


def test_both_formats_of_the_contract_are_taken(tmp_path: Path) -> None:
    records = [
        encode_example(_features(image__encoded=_image(image_format))) for image_format in ("JPEG", "PNG")
    ]
    assert _check(_write(tmp_path / "a", records)).records == 2


def test_an_empty_shard_beside_a_full_one_is_no_error(tmp_path: Path) -> None:
    _write(tmp_path / "a-0", [])
    _write(tmp_path / "a-1", [_good()])
    assert _check(tmp_path / "a-*").records == 1


def _png_with(change: Callable[[bytes], bytes]) -> bytes:
    return encode_example(_features(image__encoded=change(_image())))


def _flip_pixel_data(png: bytes) -> bytes:
    middle = len(png) // 2
    return png[:middle] + bytes([png[middle] ^ 0xFF]) + png[middle + 1 :]


BAD_RECORDS = [
    (b"\xff\xff\xff", "is no tf.train.Example"),
    (_without("image/encoded"), "field image/encoded: is missing, expected one bytes value; the record has image/class/label, image/height, image/width"),  # noqa: E501
    (_without("image/class/label"), "field image/class/label: is missing, expected one int64 value"),
    (_without("image/height"), "field image/height: is missing, expected one int64 value"),
    (_without("image/width"), "field image/width: is missing, expected one int64 value"),
    (b"", "field image/encoded: is missing, expected one bytes value; the record has none"),
    (_emptied("image/class/label", "int64_list"), "field image/class/label: is empty, expected one int64 value"),  # noqa: E501
    (_emptied("image/encoded", "bytes_list"), "field image/encoded: is empty, expected one bytes value"),
    (encode_example(_features(image__encoded=b"")), "field image/encoded: found 0 bytes, expected a JPEG or PNG image"),  # noqa: E501
    (encode_example(_features(image__encoded=7)), "field image/encoded: found 1 int64 value(s), expected one bytes value"),  # noqa: E501
    (encode_example(_features(image__class__label=1.0)), "field image/class/label: found 1 float value(s), expected one int64 value"),  # noqa: E501
    (encode_example(_features(image__class__label=b"cat")), "field image/class/label: found 1 bytes value(s), expected one int64 value"),  # noqa: E501
    (_doubled("image/class/label"), "field image/class/label: found 2 values, expected one int64 value"),
    (encode_example(_features(image__class__label=3)), "field image/class/label: found 3, expected a class from 0 to 2 (3 classes)"),  # noqa: E501
    (encode_example(_features(image__class__label=-1)), "field image/class/label: found -1, expected a class from 0 to 2"),  # noqa: E501
    (encode_example(_features(image__height=b"16")), "field image/height: found 1 bytes value(s), expected one int64 value"),  # noqa: E501
    (encode_example(_features(image__width=16.0)), "field image/width: found 1 float value(s), expected one int64 value"),  # noqa: E501
    (encode_example(_features(image__width=0)), "field image/width: found 0, expected 1 or more pixels"),
    (_png_with(lambda png: b"not an image"), "field image/encoded: found 12 bytes that start with b'not an i', expected a JPEG or PNG image"),  # noqa: E501
    (_png_with(lambda png: _image("BMP")), "field image/encoded: found a BMP image, expected JPEG or PNG"),
    (_png_with(lambda png: png[: len(png) // 2]), "field image/encoded: found a damaged PNG image"),
    (_png_with(_flip_pixel_data), "field image/encoded: found a damaged PNG image"),
    (_png_with(lambda png: _image("JPEG", size=64)[:900]), "field image/encoded: found a damaged JPEG image"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "expected"), BAD_RECORDS, ids=lambda value: str(value)[:60])
def test_bad_record_is_named_with_what_was_found_and_expected(
    tmp_path: Path, record: bytes, expected: str
) -> None:
    path = _write(tmp_path / "train.tfrecord", [_good(), _good(), record, _good()])
    with pytest.raises(DataError) as caught:
        _check(path)
    message = str(caught.value)
    assert message.startswith(f"{FLAG}: {path}, record 2 (counted from 0)")
    assert expected in message


def test_truncated_record_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "train.tfrecord", [_good(), _good()])
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(DataError, match=r"record 1 \(counted from 0\): is cut off: found \d+ of"):
        _check(path)


def test_flipped_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = _write(tmp_path / "train.tfrecord", [_good(), _good()])
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"record 1 .*: is corrupt: the checksum of its data"):
        _check(path)


def test_every_matched_file_is_checked(tmp_path: Path) -> None:
    _write(tmp_path / "a-0.tfrecord", [_good()])
    text = tmp_path / "a-1.tfrecord"
    text.write_text("image,label\n1.png,3\n")
    with pytest.raises(DataError, match=r"a-1\.tfrecord, record 0 .*: is no TFRecord file"):
        _check(tmp_path / "a-*.tfrecord")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", "found '', expected TFRecord files"),
        (" , ", "expected TFRecord files"),
        ("{dir}/nothing-*.tfrecord", "matches no file, expected one or more TFRecord files"),
        ("{dir}/absent.tfrecord", "does not exist, expected a TFRecord file"),
        ("{dir}", "is a directory, expected files, for example {dir}/*.tfrecord"),
        ("{dir}/folders/*", "Is a directory"),
        ("{dir}/empty.tfrecord", "found no record in {dir}/empty.tfrecord, expected at least one"),
        ("{dir}/good.tfrecord,{dir}/gone", "{dir}/gone: does not exist"),
    ],
)
def test_pattern_without_records_is_refused(tmp_path: Path, pattern: str, expected: str) -> None:
    (tmp_path / "folders" / "one").mkdir(parents=True)
    _write(tmp_path / "empty.tfrecord", [])
    _write(tmp_path / "good.tfrecord", [_good()])
    with pytest.raises(DataError) as caught:
        _check(pattern.format(dir=tmp_path))
    assert str(caught.value).startswith(f"{FLAG}: ")
    assert expected.format(dir=tmp_path) in str(caught.value)


def test_only_records_up_to_the_limit_are_checked(tmp_path: Path) -> None:
    path = _write(tmp_path / "train.tfrecord", [_good(), _good(), b"\xff\xff\xff"])
    assert _check(path, limit=2).records == 2
    with pytest.raises(DataError, match="record 2"):
        _check(path, limit=3)


def test_only_images_up_to_the_limit_are_decoded(tmp_path: Path) -> None:
    damaged = _png_with(_flip_pixel_data)
    path = _write(tmp_path / "train.tfrecord", [_good(), damaged])
    summary = _check(path, decode_limit=1)
    assert (summary.records, summary.decoded_images) == (2, 1)
    with pytest.raises(DataError, match=r"record 1 .* damaged"):
        _check(path, decode_limit=2)


def test_unchanged_file_is_read_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "train.tfrecord", [_good()])
    opened: list[str] = []
    open_file = records_module.open_file

    def counting_open(path: str) -> BinaryIO:
        opened.append(path)
        return open_file(path)

    monkeypatch.setattr(records_module, "open_file", counting_open)
    assert _check(path) == _check(path)
    assert len(opened) == 1
    _write(path, [_good(), b"\xff\xff\xff"])
    for _ in range(2):
        with pytest.raises(DataError, match="record 1"):
            _check(path)
    assert len(opened) == 3


def test_remote_files_are_read_through_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    for shard in range(2):
        content = _write(tmp_path / "local", [_good(shard)]).read_bytes()
        with tf.io.gfile.GFile(f"ram://bucket/train-{shard}", "wb") as file:
            file.write(content)
    assert _check("ram://bucket/train-*").classes_seen == {0, 1}
    with pytest.raises(DataError, match=f"{FLAG}: ram://bucket/absent: does not exist"):
        _check("ram://bucket/absent")
    with pytest.raises(DataError, match=f"{FLAG}: ram://bucket/other-.*: matches no file"):
        _check("ram://bucket/other-*")


def test_storage_errors_of_tensorflow_become_data_errors() -> None:
    pytest.importorskip("tensorflow")
    with pytest.raises(DataError, match=f"{FLAG}: nowhere://bucket/train-.*: "):
        _check("nowhere://bucket/train-*")


def test_checking_local_files_imports_no_tensorflow(tmp_path: Path) -> None:
    path = _write(tmp_path / "train.tfrecord", [_good()])
    code = (
        "import sys; from nas_trainer.data.records import check_records; "
        f"check_records({str(path)!r}, num_classes=3, flag='f'); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
