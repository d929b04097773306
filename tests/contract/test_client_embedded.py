"""The embedded stack as a user meets it: the command line, the real orchestrator, and fake workers.

The workers are processes on the real worker loop that train nothing (`fake_programs.py`), so that a whole
search takes seconds.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "unit" / "client" / "fake_programs.py"


def wait_until(condition: Callable[[], object], what: str, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Commands:
    """Types commands, with a home, an output directory and fake workers of the test's own."""

    directory: Path

    @property
    def out(self) -> Path:
        return self.directory / "out"

    def start(self, *words: str) -> subprocess.Popen[str]:
        fake = self.directory / "fake_python"
        if not fake.exists():
            fake.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKES} "$@"\n')
            fake.chmod(0o755)
        environment = {
            **os.environ,
            "XDG_STATE_HOME": str(self.directory / "state"),
            "NAS_TRAINER_PYTHON": str(fake),
            "NAS_LATENCY_PYTHON": str(fake),
        }
        command = [sys.executable, str(ROOT / "vertex_nas_cli.py"), *words]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*words)
        out, error = process.communicate(timeout=90)
        assert "Traceback" not in error
        return process.returncode, out, error

    def search_flags(self, *trainer_flags: str, trials: int = 4, words: tuple[str, ...] = ()) -> list[str]:
        return [
            "search", "--prebuilt_search_space=mnasnet", "--job_name=first", f"--root_output_dir={self.out}",
            "--target_device_type=CPU", "--use_prebuilt_latency_calculator=True", "--lease_seconds=3",
            f"--max_nas_trial={trials}", "--max_parallel_nas_trial=2", "--num_train_workers=2", *words,
            "--search_docker_flags", "target_device_latency_ms=3", *trainer_flags,
        ]  # fmt: skip

    def stack(self) -> dict[str, int]:
        """Process id by name, as stack.json says; those without one are left out."""
        try:
            stack = json.loads((self.out / "stack.json").read_text())
        except OSError:
            return {}
        return {name: entry["pid"] for name, entry in stack["processes"].items() if entry["pid"]}

    def wait_for_stack(self) -> dict[str, int]:
        wait_until(lambda: len(self.stack()) == 4, "the whole stack runs")
        return self.stack()

    def job_id(self) -> str:
        return next(iter(json.loads((self.directory / "state" / "nas" / "searches.json").read_text())))


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_a_search_runs_on_its_own_stack_and_can_be_listed_and_resumed(commands: Commands) -> None:
    code, out, error = commands.run(*commands.search_flags("fake_fail=2"))
    assert (code, error) == (0, "")
    assert "trial   2  failed      the loss is NaN at step 30" in out
    assert "SUCCEEDED: 3 succeeded, 0 infeasible, 1 failed" in out
    assert not (commands.out / "stack.json").exists()
    assert {path.name for path in (commands.out / "logs").iterdir()} == {
        "orchestrator.log", "trainer-1.log", "trainer-2.log", "latency-1.log",
    }  # fmt: skip
    (output_dir,) = commands.out.glob("first_*")
    assert {"reward_over_trials.png", "trials.csv"} < {path.name for path in output_dir.iterdir()}

    # The id alone finds it again.
    listed = commands.directory / "trials.json"
    job = commands.job_id()
    code, out, error = commands.run("list_trials", f"--job_id={job}", f"--trials_output_file={listed}")
    assert (code, error) == (0, "")
    assert "4 of 4 trials of first" in out
    trials = json.loads(listed.read_text())["trials"]
    assert {trial["trial"] for trial in trials[:3]} == {1, 3, 4}
    assert trials[0]["reward"] == max(trial["reward"] or 0 for trial in trials)

    elsewhere = commands.directory / "elsewhere"
    code, out, error = commands.run(
        "search_resume", f"--previous_nas_job_id={job}", "--max_nas_trial=6", "--num_train_workers=1",
        f"--root_output_dir={elsewhere}",
    )  # fmt: skip
    assert (code, error) == (0, "")
    (new_dir,) = elsewhere.glob("first_*")
    assert (new_dir / "trials.csv").exists()
    assert (new_dir / "nas" / "search" / "6" / "nas_params_str.json").exists()
    assert "SUCCEEDED: 5 succeeded, 0 infeasible, 1 failed" in out
    assert "trial   6  succeeded" in out
    assert "trial   1  succeeded" not in out


def test_ctrl_c_cancels_and_resume_goes_on(commands: Commands) -> None:
    process = commands.start(*commands.search_flags("fake_seconds=2"))
    pids = commands.wait_for_stack()
    # Trials run once a trainer has made its attempt's directory.
    wait_until(lambda: list(commands.out.glob("first_*/nas/search/*/attempts/1")), "a trial runs")
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "CANCELLED" in out
    assert "search_resume --previous_nas_job_id=" in out
    assert not any(is_alive(pid) for pid in pids.values())

    code, out, error = commands.run(*commands.search_flags("fake_seconds=0.1", words=("--resume",)))
    assert (code, error) == (0, "")
    assert "goes on" in out
    assert "SUCCEEDED: 4 succeeded" in out


def test_a_search_survives_the_death_of_every_part_of_its_stack_and_of_its_command(
    commands: Commands,
) -> None:
    process = commands.start(*commands.search_flags("fake_seconds=1.5", trials=6))
    commands.wait_for_stack()
    wait_until(lambda: list(commands.out.glob("first_*/nas/search/*/attempts/1")), "a trial runs")

    # While it runs, nobody else may work in its directory, but its trials can be listed.
    code, _, error = commands.run(*commands.search_flags())
    assert code == 1
    assert f"another command (process {process.pid}) is at work there" in error
    code, out, error = commands.run("list_trials", f"--job_id={commands.job_id()}")
    assert (code, error) == (0, "")
    assert "trials of first" in out

    endpoint = json.loads((commands.out / "stack.json").read_text())["endpoint"]
    for name in ("trainer-1", "latency-1", "orchestrator"):
        pid = commands.stack()[name]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda name=name, pid=pid: commands.stack().get(name, pid) != pid, f"{name} restarted")
    assert json.loads((commands.out / "stack.json").read_text())["endpoint"] == endpoint

    pids = commands.wait_for_stack()
    process.kill()
    out, _ = process.communicate(timeout=30)
    assert "trainer-1 was killed by signal 9" in out
    code, out, error = commands.run(*commands.search_flags(trials=6, words=("--resume",)))
    assert not any(is_alive(pid) for pid in pids.values())
    assert (code, error) == (0, "")
    assert "SUCCEEDED: 6 succeeded, 0 infeasible, 0 failed" in out


def test_a_job_that_is_wrong_fails_at_once_with_the_trainers_words(commands: Commands) -> None:
    code, out, error = commands.run(*commands.search_flags("fake_invalid=1"))
    assert code == 1
    assert "fake_invalid: found it, expected none" in error
    assert str(commands.out / "logs") in error
    assert "FAILED" in out


def test_what_cannot_start_is_said_before_anything_starts(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    (commands.directory / "file").write_text("")
    flags = commands.search_flags()
    unwritable = [word.replace(str(commands.out), str(commands.directory / "file" / "out")) for word in flags]
    code, _, error = commands.run(*unwritable)
    assert code == 1
    assert "--root_output_dir=" in error
    assert "cannot write there" in error

    code, _, error = commands.run(*commands.search_flags("training_data_path=/no/such/*.tfrecord"))
    assert code == 1
    assert "training_data_path: found no file matching /no/such/*.tfrecord" in error
    assert not commands.out.exists()

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, _, error = commands.run(*commands.search_flags(words=("--accelerator_type=NVIDIA_TESLA_T4",)))
    assert code == 1
    assert "--accelerator_type=NVIDIA_TESLA_T4: found 0 NVIDIA GPUs" in error

    code, _, error = commands.run(*[word.replace("=mnasnet", "=mnasnot") for word in flags])
    assert code == 2
    assert "mnasnot" in error


def test_a_worker_that_cannot_start_is_given_up_with_its_last_words(commands: Commands) -> None:
    broken = commands.directory / "fake_python"
    broken.write_text('#!/bin/sh\necho "error: no such option: $4" >&2\nexit 2\n')
    broken.chmod(0o755)
    code, _, error = commands.run(*commands.search_flags())
    assert code == 1
    assert "ended with exit code 2" in error
    assert "error: no such option" in error
    assert "trainer-" in error or "latency-1" in error
