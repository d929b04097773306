"""A whole search as a user runs it, and what is left of it when its parts are killed."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nas_orchestrator.search.random_search import RandomSearch
from nas_shared import search_spaces

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILES_OF_A_TRIAL = (
    "nas_params_str.json",
    "params.yaml",
    "checkpoint",
    "saved_model/saved_model.pb",
    "model_analysis.json",
    "job_status.json",
)


@pytest.fixture
def conftest(request: pytest.FixtureRequest):
    """The helpers of this folder's conftest, under importlib mode no module of their own."""
    return next(p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "SMALL_TRAINING"))


def settled_rows(root: Path) -> list[sqlite3.Row]:
    connection = sqlite3.connect(root / "nas.db")
    connection.row_factory = sqlite3.Row
    rows = connection.execute(
        "SELECT * FROM trials WHERE settled_order > 0 ORDER BY settled_order"
    ).fetchall()
    connection.close()
    return rows


def assert_whole(search, trials: int) -> None:
    """Exactly `trials` settled, each once, each with its files."""
    rows = settled_rows(search.root)
    assert [row["settled_order"] for row in rows] == list(range(1, trials + 1))
    assert {row["state"] for row in rows} == {"SUCCEEDED"}
    assert len({row["number"] for row in rows}) == trials
    for row in rows:
        trial_dir = search.job_dir() / "nas/search" / str(row["number"])
        for name in FILES_OF_A_TRIAL:
            assert (trial_dir / name).exists(), f"trial {row['number']} lacks {name}"
        assert list(trial_dir.glob("ckpt-*.index")), f"trial {row['number']} lacks a checkpoint"
        assert list(trial_dir.rglob("events.out.tfevents.*")), (
            f"trial {row['number']} lacks TensorBoard events"
        )
        assert json.loads((trial_dir / "job_status.json").read_text()) == {"job_status": "success"}
        analysis = json.loads((trial_dir / "model_analysis.json").read_text())
        assert 0 <= analysis["top_1_accuracy"] <= 1
        for name in ("latency_in_milliseconds", "model_memory", "multiply_adds", "parameters"):
            assert analysis[name] > 0
        expected = analysis["top_1_accuracy"] * (5 / analysis["latency_in_milliseconds"]) ** 0.07
        assert row["reward"] == pytest.approx(expected)
        assert json.loads((trial_dir / "nas_params_str.json").read_text()) == json.loads(
            row["nas_params_str"]
        )


def test_a_search_ends_with_every_file_its_table_its_chart_and_the_next_command(user):
    search = user.search(trials=3, parallel=2)
    output = search.finish()
    assert search.process.returncode == 0, output
    assert_whole(search, 3)
    job_dir = search.job_dir()
    assert (job_dir / "reward_over_trials.png").read_bytes().startswith(b"\x89PNG")
    with (job_dir / "trials.csv").open() as file:
        assert sorted(int(row["trial"]) for row in csv.DictReader(file)) == [1, 2, 3]
    assert "list_trials --job_id=" in output
    assert "Traceback" not in output
    assert not search.stack, "nothing runs any more"
    # The seed alone decides what random search proposes.
    proposed = [
        row["nas_params_str"] for row in sorted(settled_rows(user.root), key=lambda row: row["number"])
    ]
    space = search_spaces.load("mnasnet")
    random_search = RandomSearch(space.cardinalities, 5)
    assert proposed == [space.nas_params_str(random_search.propose(number)) for number in (1, 2, 3)]

    job_id = output.split("searchJobs/")[1].split()[0].strip("()")
    code, listed = user.run(
        "list_trials", f"--job_id={job_id}", "--max_trials=2", "--trials_output_file=best.json"
    )
    assert code == 0, listed
    best = json.loads((user.directory / "best.json").read_text())
    assert len(best["trials"]) == 2

    code, resumed = user.run("search_resume", f"--previous_nas_job_id={job_id}", "--max_nas_trial=4")
    assert code == 0, resumed
    assert_whole(search, 4)


def test_a_trainer_killed_in_the_middle_of_training_goes_on_from_its_checkpoint(user, conftest):
    search = user.search(trials=2, steps=150)
    attempts = "out/digits_*/nas/search/1/attempts/1/ckpt-*.index"
    conftest.wait_for("a first checkpoint", lambda: list(user.directory.glob(attempts)))
    died = search.kill("trainer-1")
    search.wait_for_restart("trainer-1", died)
    output = search.finish()
    assert search.process.returncode == 0, output
    assert_whole(search, 2)
    first = next(row for row in settled_rows(user.root) if row["number"] == 1)
    assert first["train_attempts"] == 2
    metrics = json.loads(first["metrics"])
    assert 0 < metrics["resumed_from_step"] < 150
    assert metrics["resumed_from_step"] % 10 == 0


def test_a_latency_calculator_killed_in_the_middle_of_a_measurement_measures_again(user):
    search = user.search(trials=2)
    search.wait_for_log("latency-1", "/trials/1/tasks/measure: attempt 1 starts")
    died = search.kill("latency-1")
    search.wait_for_restart("latency-1", died)
    output = search.finish()
    assert search.process.returncode == 0, output
    assert_whole(search, 2)
    assert "/trials/1/tasks/measure: attempt 2 starts" in search.log("latency-1")


def test_an_orchestrator_killed_in_the_middle_of_a_search_loses_nothing(user, conftest):
    search = user.search(trials=4, parallel=2)
    orchestrator = conftest.Orchestrator(search)
    orchestrator.wait_for_settled(1)
    died = search.kill("orchestrator")
    search.wait_for_restart("orchestrator", died)
    output = search.finish()
    assert search.process.returncode == 0, output
    assert_whole(search, 4)
    assert {row["train_attempts"] for row in settled_rows(user.root)} == {1}, "no worker lost its work"


def test_ctrl_c_cancels_and_resume_goes_on(user, conftest):
    search = user.search(trials=2, steps=60)
    conftest.Orchestrator(search).wait_for_settled(1)
    search.process.send_signal(signal.SIGINT)
    output = search.finish()
    assert search.process.returncode == 130, output
    assert "Traceback" not in output
    assert not search.stack
    search = user.search(trials=2, more=("--resume=True",))
    output = search.finish()
    assert search.process.returncode == 0, output
    rows = settled_rows(user.root)
    assert [row["settled_order"] for row in rows] == [1, 2]


def test_children_die_with_a_client_that_is_killed_and_the_search_can_be_resumed(user, conftest):
    search = user.search(trials=2, steps=400)
    conftest.Orchestrator(search)
    pids = [search.pid(name) for name in ("orchestrator", "trainer-1", "latency-1")]
    search.process.kill()
    search.process.wait()

    def all_gone() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    conftest.wait_for("the children to end", all_gone, 60)
    search = user.search(trials=2, steps=20, more=("--resume=True",))
    output = search.finish()
    assert search.process.returncode == 0, output
    assert [row["settled_order"] for row in settled_rows(user.root)] == [1, 2]


def test_a_data_path_that_matches_nothing_ends_the_command_with_its_name(user):
    user.data = user.directory / "nowhere"
    search = user.search(trials=2)
    output = search.finish()
    assert search.process.returncode == 1, output
    assert "training_data_path" in output
    assert "Traceback" not in output
    assert not user.root.exists(), "nothing was begun"


def test_data_that_is_no_tfrecord_fails_the_whole_job_at_its_first_trial(user):
    user.data = user.directory / "bad"
    user.data.mkdir()
    (user.data / "train-0").write_bytes(b"no TFRecord at all")
    (user.data / "validation-0").write_bytes(b"no TFRecord at all")
    search = user.search(trials=5)
    output = search.finish()
    assert search.process.returncode == 1, output
    assert "training_data_path" in output
    assert "train-0" in output
    assert "Traceback" not in output
    assert len(settled_rows(user.root)) == 1


def test_the_orchestrator_runs_from_an_environment_without_tensorflow():
    python = os.environ.get("NAS_ORCHESTRATOR_PYTHON")
    assert python, "run the tests with `make test`, which makes that environment"
    program = (
        "import importlib.util as u, nas_orchestrator.main; "
        "print([n for n in ('tensorflow', 'tf_keras', 'official') if u.find_spec(n)])"
    )
    answer = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
    assert python != sys.executable
