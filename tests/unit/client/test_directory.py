"""The directory of an embedded search, and the list of past ones."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nas_client import registry
from nas_client.embedded import directory as directory_module
from nas_client.embedded.directory import Directory, DirectoryBusy
from nas_shared.cli import CommandError


def test_a_directory_is_claimed_by_one_command_at_a_time(tmp_path: Path) -> None:
    first, second = Directory(tmp_path / "a" / "b"), Directory(tmp_path / "a" / "b")
    first.claim()
    first.write_stack({"client_pid": 42, "endpoint": "127.0.0.1:7", "processes": {}})
    with pytest.raises(DirectoryBusy, match=r"process 42.*--endpoint=127.0.0.1:7") as busy:
        second.claim()
    assert busy.value.endpoint == "127.0.0.1:7"
    first.release()
    second.claim()
    assert second.running_stack() == {}
    second.release()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match=r"--root_output_dir=.*/file/out: cannot write there"):
        Directory(tmp_path / "file" / "out").claim()


def test_what_a_killed_command_left_running_is_waited_for(tmp_path: Path) -> None:
    orphan = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(0.6)"])
    directory = Directory(tmp_path)
    directory.logs.mkdir()
    directory.write_stack({"processes": {"trainer-1": {"pid": orphan.pid}}})
    # This process is its parent and has to reap it; a zombie would look alive.
    threading.Thread(target=orphan.wait).start()
    started = time.monotonic()
    directory.claim()
    assert time.monotonic() - started > 0.2
    assert orphan.poll() is not None
    directory.release()


def test_processes_that_never_end_are_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "_ORPHANS_SECONDS", 0.3)
    directory = Directory(tmp_path)
    directory.write_stack({"processes": {"trainer-1": {"pid": os.getpid()}}})
    directory.claim()
    directory.release()


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_broken_stack_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    assert Directory(tmp_path).running_stack() == {}


def test_searches_are_remembered_with_their_directory(tmp_path: Path, state_home: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "nas.db").write_text("")
    registry.remember("12", tmp_path / "a")
    registry.remember("13", tmp_path / "gone")
    assert registry.find("12") == tmp_path / "a"
    assert registry.find("13") is None
    assert registry.find("14") is None
    assert registry.path() == state_home / "nas" / "searches.json"
    assert json.loads(registry.path().read_text()) == {
        "12": str(tmp_path / "a"),
        "13": str(tmp_path / "gone"),
    }


def test_the_oldest_searches_are_forgotten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_KEPT", 2)
    for job in ("1", "2", "1", "3"):
        registry.remember(job, tmp_path)
    assert list(json.loads(registry.path().read_text())) == ["1", "3"]


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_broken_list_of_searches_is_as_good_as_none(content: str) -> None:
    registry.path().parent.mkdir(parents=True)
    registry.path().write_text(content)
    assert registry.find("1") is None


def test_a_home_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    registry.remember("1", tmp_path)
    assert registry.find("1") is None
