"""Stage 2 as a user runs it, and what is left of it when its trainer is killed."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 200
# steps_per_loop of the small training: one point of a curve after each.
INTERVAL = 10


@pytest.fixture
def conftest(request: pytest.FixtureRequest):
    """The helpers of this folder's conftest, under importlib mode no module of their own."""
    return next(p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "SMALL_TRAINING"))


def curve(directory: Path, tag: str) -> list[int]:
    """Steps of a scalar in all event files of a trial, in the order of time."""
    events = []
    for folder in {path.parent for path in directory.rglob("events.out.tfevents.*")}:
        accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
        if tag in accumulator.Tags()["tensors"]:
            events += accumulator.Tensors(tag)
    return [event.step for event in sorted(events, key=lambda event: (event.wall_time, event.step))]


def test_a_killed_stage_2_training_goes_on_at_its_checkpoint_and_its_curve_has_no_gap_and_no_double(
    user, conftest
):
    (user.directory / "long.yaml").write_text(conftest.SMALL_TRAINING.replace("STEPS", str(STEPS)))
    search = user.search(
        trials=2,
        steps=10,
        more=(
            "--train_frequency=2",
            "--train_max_parallel_trial=1",
            "--train_docker_flags",
            "params_override=long.yaml",
            "model=classification",
            f"training_data_path={user.data}/train-*",
            f"validation_data_path={user.data}/validation-*",
        ),
    )
    checkpoints = "out/digits_*/nas/train/3/attempts/1/ckpt-*.index"
    conftest.wait_for("a checkpoint of stage 2", lambda: list(user.directory.glob(checkpoints)))
    died = search.kill("trainer-1")
    search.wait_for_restart("trainer-1", died)
    output = search.finish()
    assert search.process.returncode == 0, output

    trial = search.job_dir() / "nas" / "train" / "3"
    analysis = json.loads((trial / "model_analysis.json").read_text())
    assert 0 < analysis["resumed_from_step"] < STEPS
    assert json.loads((trial / "job_status.json").read_text()) == {"job_status": "success"}
    searched = [
        json.loads((search.job_dir() / f"nas/search/{number}/model_analysis.json").read_text())
        for number in (1, 2)
    ]
    best = max((1, 2), key=lambda number: searched[number - 1]["reward"])
    source = search.job_dir() / "nas" / "search" / str(best) / "nas_params_str.json"
    assert (trial / "nas_params_str.json").read_text() == source.read_text()
    for tag in ("training_loss", "learning_rate"):
        assert curve(trial, tag) == list(range(INTERVAL, STEPS + 1, INTERVAL)), tag
