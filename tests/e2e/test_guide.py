"""The commands of docs/guide.md, in its order, as they stand; later ones may need what earlier ones made."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide.md"
BLOCKS = dict(re.findall(r"^```sh ([\w-]+)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Reader:
    """Somebody who types the guide's commands into one shell."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        return self.directory / "runs"

    def start(self, block: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "GCS_ROOT_DIR": str(self.runs),
            "DATA_DIR": str(self.directory / "data"),
            "XDG_STATE_HOME": str(self.directory / "state"),
            **self.variables,
        }
        return subprocess.Popen(
            ["bash", "-euc", BLOCKS["variables"] + BLOCKS[block]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, block: str, *, exit_code: int = 0) -> str:
        """Runs a block of the guide to its end; its output."""
        process = self.start(block)
        try:
            output, _ = process.communicate(timeout=800)
        finally:
            end(process)
        assert process.returncode == exit_code, output
        return output

    def job_id(self, root: Path) -> str:
        """Number of the newest search under `root`, as it was printed."""
        searches = json.loads((self.directory / "state" / "nas" / "searches.json").read_text())
        return [job_id for job_id, where in searches.items() if Path(where) == root][-1]

    def job_dir(self, name: str) -> Path:
        (found,) = self.runs.glob(f"**/{name}_[0-9]*/nas")
        return found.parent


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("guide"))


@pytest.fixture(autouse=True)
def without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide holds on a machine without a container engine, whatever this one has."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


def status(trial_dir: Path) -> str:
    return json.loads((trial_dir / "job_status.json").read_text())["job_status"]


def analysis(trial_dir: Path) -> dict[str, float]:
    return json.loads((trial_dir / "model_analysis.json").read_text())


def trial_dirs(job_dir: Path, stage: str) -> dict[str, Path]:
    return {path.name: path for path in (job_dir / "nas" / stage).iterdir()}


def test_every_block_of_the_guide_has_a_test() -> None:
    tests = {
        name.removeprefix("test_guide_").replace("_", "-") for name in globals() if "test_guide_" in name
    }
    assert set(BLOCKS) - {"variables"} == tests


def test_guide_data_classification(reader: Reader) -> None:
    reader.type("data-classification")
    assert json.loads((reader.directory / "data/digits/dataset.json").read_text())


def test_guide_data_detection(reader: Reader) -> None:
    reader.type("data-detection")
    assert list((reader.directory / "data/scenes").glob("train-*"))


def test_guide_check_data(reader: Reader) -> None:
    output = reader.type("check-data")
    assert (reader.directory / "data/scenes/sheet.png").stat().st_size > 10_000, output


def test_guide_build(reader: Reader) -> None:
    output = reader.type("build", exit_code=1)
    assert "engine" in output
    assert "Traceback" not in output


def test_guide_search_in_local_classification(reader: Reader) -> None:
    output = reader.type("search-in-local-classification")
    (trial,) = (reader.runs / "local_mnasnet").glob("*/nas/search/1")
    assert status(trial) == "success", output


def test_guide_search_in_local_detection(reader: Reader) -> None:
    output = reader.type("search-in-local-detection")
    (trial,) = (reader.runs / "iod_spinenet").glob("*/nas/search/1")
    assert status(trial) == "success", output
    assert 0 <= analysis(trial)["AP"] <= 1
    assert (trial / "saved_model" / "saved_model.pb").exists()


def test_guide_search(reader: Reader) -> None:
    output = reader.type("search")
    job_dir = reader.job_dir("guide")
    searched, trained = trial_dirs(job_dir, "search"), trial_dirs(job_dir, "train")
    assert sorted(searched) == ["1", "2", "3", "4"], output
    assert sorted(trained) == ["5"]
    assert {status(path) for path in [*searched.values(), *trained.values()]} == {"success"}
    best = max(searched.values(), key=lambda path: analysis(path)["reward"])
    assert (trained["5"] / "nas_params_str.json").read_text() == (best / "nas_params_str.json").read_text()
    assert analysis(trained["5"])["latency_in_milliseconds"] > 0
    reader.variables["JOB_ID"] = reader.job_id(reader.runs)


def test_guide_list_trials(reader: Reader) -> None:
    output = reader.type("list-trials")
    with (reader.runs / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5, output


def test_guide_search_resume(reader: Reader) -> None:
    reader.type("search-resume")
    job_dir = reader.job_dir("guide")
    # The fifth trial of the search is number 6 of the job, and the rest of a round goes to stage 2.
    assert sorted(trial_dirs(job_dir, "search")) == ["1", "2", "3", "4", "6"]
    assert sorted(trial_dirs(job_dir, "train")) == ["5", "7"]


def test_guide_train(reader: Reader) -> None:
    output = reader.type("train")
    searched = trial_dirs(reader.job_dir("guide"), "search")
    trained = trial_dirs(reader.job_dir("guide_chosen"), "train")
    assert sorted(trained) == ["1", "2"], output
    for number, source in (("1", "2"), ("2", "1")):
        assert status(trained[number]) == "success"
        chosen = (searched[source] / "nas_params_str.json").read_text()
        assert (trained[number] / "nas_params_str.json").read_text() == chosen


def test_guide_search_without_latency_worker(reader: Reader) -> None:
    """Together with the next command of the guide, which this search waits for."""
    root = reader.runs / "device"
    search = reader.start("search-without-latency-worker")
    try:
        deadline = time.monotonic() + 300
        while not list(root.glob("device_*/nas/search/1/attempts/1/untrained/saved_model")):
            assert search.poll() is None, search.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        reader.variables["JOB_ID"] = reader.job_id(root)
        reader.type("run-latency-calculator-local")
        output, _ = search.communicate(timeout=120)
    finally:
        end(search)
    assert search.returncode == 0, output
    (trial,) = root.glob("device_*/nas/search/1")
    assert analysis(trial)["latency_in_milliseconds"] > 0


def test_guide_run_latency_calculator_local(reader: Reader) -> None:
    """The search it joined has ended: joining again says so."""
    output = reader.type("run-latency-calculator-local", exit_code=1)
    assert reader.variables["JOB_ID"] in output
    assert "Traceback" not in output


def test_guide_export(reader: Reader) -> None:
    output = reader.type("export")
    assert (reader.runs / "exported" / "saved_model.pb").exists() or list(
        (reader.runs / "exported").glob("**/saved_model.pb")
    ), output
    trial = reader.job_dir("guide") / "nas" / "train" / "5"
    assert yaml.safe_load((trial / "params.yaml").read_text())["task"]
    assert f"{analysis(trial)['top_1_accuracy']:.4f}" in output


def test_guide_own_trainer(reader: Reader) -> None:
    output = reader.type("own-trainer")
    trials = trial_dirs(reader.job_dir("own"), "search")
    assert sorted(trials) == ["1", "2", "3"], output
    assert all(0 <= analysis(path)["accuracy"] <= 1 for path in trials.values())


def test_guide_describe(reader: Reader) -> None:
    output = reader.type("describe")
    described = json.loads(output[output.index("{") :])
    assert described["trainable_parameters"] == pytest.approx(28.5e6, rel=0.01)
    assert described["multiply_adds"] == pytest.approx(85.4e9, rel=0.01)
