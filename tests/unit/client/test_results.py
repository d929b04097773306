"""The table, the files and the picture a search leaves."""

import csv
import io
import json
import struct
from pathlib import Path

import pytest
from nas.v1 import resources_pb2
from rich.console import Console

from nas_client import chart, results
from nas_shared.cli import CommandError

_Trial = resources_pb2.Trial


def make_job(output_dir: str = "/out/first_1") -> resources_pb2.SearchJob:
    job = resources_pb2.SearchJob(name="searchJobs/7", display_name="first", output_dir=output_dir)
    job.state = resources_pb2.SearchJob.SUCCEEDED
    job.spec.search_space = "mnasnet"
    job.spec.reward.metric = "top_1_accuracy"
    job.spec.reward.latency_ms.value = 3
    job.best_trial = "searchJobs/7/trials/2"
    return job


def make_trials(output_dir: str = "/out/first_1") -> list[_Trial]:
    """Best first: 2, 1, and a failed 3."""
    trials = []
    for number, reward in ((2, 0.95), (1, 0.9), (3, None)):
        trial = _Trial(name=f"searchJobs/7/trials/{number}", trial_dir=f"{output_dir}/nas/search/{number}")
        trial.start_time.FromSeconds(1_790_000_000)
        trial.end_time.FromMilliseconds(1_790_000_001_500)
        if reward is None:
            trial.state, trial.error_message = _Trial.FAILED, 'the "loss", is\nNaN'
        else:
            trial.state, trial.reward = _Trial.SUCCEEDED, reward
            trial.metrics.update(
                {
                    "top_1_accuracy": reward + 0.01,
                    "latency_p50_ms": 2.5,
                    "parameters": 3.9e6,
                    "multiply_adds": 3e8,
                }
            )
        trials.append(trial)
    return trials


def png_size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_the_table_shows_what_people_choose_a_trial_by() -> None:
    console = Console(file=io.StringIO(), width=140)
    results.print_trials(console, make_job(), make_trials(), title="Best trials")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.split() for line in text.splitlines() if "nas/search" in line]
    assert lines[0] == ["★", "2", "succeeded", "0.9500", "0.9600", "2.50", "3.90M", "300M", "nas/search/2"]
    assert lines[2][:3] == ["3", "failed", "–"]
    assert "/out/first_1" in text


def test_the_csv_has_a_line_per_trial_by_number_and_survives_awkward_messages() -> None:
    rows = list(csv.DictReader(io.StringIO(results.to_csv(make_trials()))))
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    assert float(rows[1]["reward"]) == 0.95
    assert float(rows[1]["latency_p50_ms"]) == 2.5
    assert float(rows[1]["seconds"]) == 1.5
    assert rows[2]["reward"] == ""
    assert rows[2]["error_message"] == 'the "loss", is\nNaN'


def test_the_json_keeps_the_order_and_the_metrics_apart() -> None:
    content = json.loads(results.to_json(make_job(), make_trials()))
    assert content["job"] == "searchJobs/7"
    assert [trial["trial"] for trial in content["trials"]] == [2, 1, 3]
    assert content["trials"][0]["metrics"]["parameters"] == 3.9e6
    assert content["trials"][2]["reward"] is None


def test_the_output_file_is_csv_or_json_by_its_ending(tmp_path: Path) -> None:
    results.write_trials(tmp_path / "a.csv", make_job(), make_trials())
    results.write_trials(tmp_path / "a.json", make_job(), make_trials())
    assert (tmp_path / "a.csv").read_text().startswith("trial,stage,state,reward,")
    assert json.loads((tmp_path / "a.json").read_text())["display_name"] == "first"


def test_an_output_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"--trials_output_file=.*/nowhere/a.json: cannot be written"):
        results.write_trials(tmp_path / "nowhere" / "a.json", make_job(), make_trials())


def test_files_land_in_the_jobs_directory(tmp_path: Path) -> None:
    written = results.write_files(make_job(str(tmp_path)), make_trials(str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reward_over_trials.png", "trials.csv"]
    assert [path.name for path in written] == ["trials.csv", "reward_over_trials.png"]
    assert png_size((tmp_path / "reward_over_trials.png").read_bytes()) == (1650, 900)


def test_no_files_are_written_where_there_is_no_directory(tmp_path: Path) -> None:
    assert results.write_files(make_job(str(tmp_path / "elsewhere")), make_trials()) == []
    assert results.write_files(make_job(""), make_trials()) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_picture_can_be_drawn_of_any_number_of_trials(count: int) -> None:
    trials = make_trials()[::-1][:count]
    assert png_size(chart.draw(make_job(), trials))[0] == 1650


def test_a_picture_without_latency_shows_multiply_adds() -> None:
    trials = make_trials()
    for trial in trials:
        trial.metrics.pop("latency_p50_ms", None)
    with_latency, without = chart.draw(make_job(), make_trials()), chart.draw(make_job(), trials)
    assert png_size(without) == png_size(with_latency)
    assert without != with_latency
