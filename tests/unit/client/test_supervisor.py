"""Child processes that end, fail, hang and lose their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas_client.embedded.supervisor import Program, RestartPolicy, Supervisor

FAST = RestartPolicy(first_wait_seconds=0.02, max_wait_seconds=0.05, early_seconds=20, max_early_deaths=3)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Nursery:
    """Makes supervisors of small Python programs and ends them all."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._supervisors: list[Supervisor] = []
        self.news: list[str] = []

    def start(self, code: str, policy: RestartPolicy = FAST) -> Supervisor:
        command = [sys.executable, "-S", "-c", textwrap.dedent(code)]
        program = Program("child", lambda: command, dict(os.environ))
        supervisor = Supervisor(program, self._directory / "child.log", self.note, policy)
        self._supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    def note(self, news: str) -> None:
        if news:
            self.news.append(news)

    def end(self) -> None:
        for supervisor in self._supervisors:
            supervisor.kill()
            assert supervisor.wait(time.monotonic() + 10)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.end()


def test_a_killed_child_is_started_again_and_the_death_is_news(nursery: Nursery) -> None:
    child = nursery.start("import sys; sys.stdin.read()")
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: child.pid not in (None, first), "the child was started again")
    assert child.starts == 2
    assert len(nursery.news) == 1
    assert "child was killed by signal 9" in nursery.news[0]


def test_a_child_that_recycles_itself_starts_again_and_is_no_news(nursery: Nursery) -> None:
    child = nursery.start("import time; time.sleep(0.05)")
    wait_until(lambda: child.starts >= 6, "the child was started six times")
    assert child.gave_up is None
    assert nursery.news == []


def test_a_child_that_keeps_dying_at_start_is_given_up_with_its_last_lines(nursery: Nursery) -> None:
    child = nursery.start("print('reading flags'); raise SystemExit('no such data')")
    wait_until(lambda: child.gave_up, "the child was given up")
    assert child.gave_up is not None
    assert child.starts == FAST.max_early_deaths
    assert "3 times in a row" in child.gave_up.reason
    assert child.gave_up.last_lines == ["reading flags", "no such data"]
    assert child.pid is None


def test_a_wrong_command_line_is_not_tried_twice(nursery: Nursery) -> None:
    child = nursery.start("import sys; print('unknown flag', file=sys.stderr); sys.exit(2)")
    wait_until(lambda: child.gave_up, "the child was given up")
    assert child.starts == 1
    assert child.gave_up is not None
    assert child.gave_up.last_lines == ["unknown flag"]


def test_a_child_that_lived_long_enough_may_die_as_often_as_it_likes(nursery: Nursery) -> None:
    policy = RestartPolicy(
        first_wait_seconds=0.01, max_wait_seconds=0.01, early_seconds=0.0, max_early_deaths=2
    )
    child = nursery.start("import sys; sys.exit(1)", policy)
    wait_until(lambda: child.starts >= 6, "the child was started six times")
    assert child.gave_up is None


def test_the_log_keeps_the_output_of_every_start(nursery: Nursery) -> None:
    child = nursery.start("import os; print('pid', os.getpid())")
    wait_until(lambda: child.starts >= 3, "the child was started three times")
    text = child.log.read_text()
    assert "--- start 1 at " in text
    assert text.count("pid ") >= 2


def test_sigterm_ends_a_child_for_good_and_sigkill_a_stubborn_one(nursery: Nursery, tmp_path: Path) -> None:
    polite = nursery.start("import sys; sys.stdin.read()")
    polite.terminate()
    assert polite.wait(time.monotonic() + 10)
    assert polite.starts == 1

    ready = tmp_path / "ready"
    stubborn = nursery.start(
        f"""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(ready)!r}, "w").close()
        time.sleep(60)
        """
    )
    wait_until(ready.exists, "the child ignores SIGTERM")
    stubborn.terminate()
    assert not stubborn.wait(time.monotonic() + 0.3)
    stubborn.kill()
    assert stubborn.wait(time.monotonic() + 10)
    assert stubborn.pid is None


def test_stopping_in_the_pause_between_two_starts_leaves_nothing_behind(nursery: Nursery) -> None:
    policy = RestartPolicy(first_wait_seconds=30, max_wait_seconds=30)
    child = nursery.start("import sys; sys.exit(1)", policy)
    wait_until(lambda: nursery.news, "the child died")
    child.terminate()
    assert child.wait(time.monotonic() + 5)
    assert child.starts == 1


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(nursery: Nursery) -> None:
    child = nursery.start("import sys; sys.stdin.read()")
    assert child.pid is not None
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"""
import os
from nas_shared.cli import exit_with_parent
exit_with_parent()
open({str(pid_file)!r} + ".new", "w").write(str(os.getpid()))
os.rename({str(pid_file)!r} + ".new", {str(pid_file)!r})
import time
time.sleep(60)
"""
    parent = f"""
import os, sys, time
from pathlib import Path
from nas_client.embedded.supervisor import Program, Supervisor
command = [sys.executable, "-c", {child!r}]
Supervisor(Program("child", lambda: command, dict(os.environ)), Path({str(tmp_path / "child.log")!r})).start()
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        wait_until(pid_file.exists, "the child runs", 60)
        pid = int(pid_file.read_text())
        assert is_alive(pid)
        process.kill()
        wait_until(lambda: not is_alive(pid), "the child died with its parent")
    finally:
        process.kill()
        process.wait()
