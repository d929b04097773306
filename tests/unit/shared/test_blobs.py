"""Files are whole or not there: whatever fails, and whenever the writer is killed."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas_shared.blobs import write_atomically


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("content", [b"", b"a\r\n\0\xff", b"x" * 3_000_000])
def test_a_file_holds_exactly_what_was_written(tmp_path, content):
    write_atomically(tmp_path / "ü b.json", content)
    assert (tmp_path / "ü b.json").read_bytes() == content
    assert names(tmp_path) == ["ü b.json"]


def test_a_path_may_be_text_and_an_old_file_is_replaced(tmp_path):
    for content in (b"a longer first", b"second"):
        write_atomically(str(tmp_path / "file"), content)
    assert (tmp_path / "file").read_bytes() == b"second"


def test_others_may_read_the_file(tmp_path):
    write_atomically(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_missing_directory_is_an_error_and_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", b"x")
    assert names(tmp_path) == []


def test_a_directory_in_the_place_of_the_file_is_an_error_and_stays(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "file", b"x")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    def fail(*_: object) -> None:
        raise error

    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(tmp_path / "file", b"new")
    monkeypatch.undo()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_too_large_for_the_disk_leaves_the_old_one_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "file", b"old")
    program = (
        "import signal, sys\nfrom nas_shared.blobs import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n    write_atomically(sys.argv[1], b'x' * 1_000_000)\n"
        "except OSError as error:\n    print(error.strerror)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout == "File too large\n"
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    program = (
        "import itertools, sys\nfrom nas_shared.blobs import write_atomically\n"
        "for i in itertools.count():\n    write_atomically(sys.argv[1], b'%d\\n' % (i % 10) * 200_000)\n"
    )
    for delay in (0.0, 0.003, 0.007, 0.013):
        writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "file")])
        deadline = time.monotonic() + 20
        while not (tmp_path / "file").exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        content = (tmp_path / "file").read_bytes()
        assert content == content[:2] * 200_000
