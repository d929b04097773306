"""A SpineNet detector from data to SavedModel: interrupted, gone on with, and measured."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from nas.v1 import task_service_pb2

from nas_shared import search_spaces
from nas_shared.work import StopReason, TaskStopped
from nas_trainer.devices import Devices
from nas_trainer.handler import TrainHandler
from nas_trainer.prepare_data import main as prepare_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STEPS = 6


class FakeRun:
    """A task run that is told to shut down when `stop_at_step` is reported."""

    def __init__(self, task, stop_after=None):
        self.task = task
        self.reports = []
        self._asked = 0
        self._stop_after = stop_after

    @property
    def should_stop(self):
        self._asked += 1
        return self._stop_after is not None and self._asked > self._stop_after

    @property
    def stop_reason(self):
        stops = self._stop_after is not None and self._asked > self._stop_after
        return StopReason.SHUTDOWN if stops else None

    def report(self, step, metrics, saved_model_dir=""):
        self.reports.append(
            SimpleNamespace(step=step, metrics=dict(metrics), saved_model_dir=saved_model_dir)
        )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("scenes")
    arguments = ["--dataset=digit_scenes", "--num_images=60", "--num_shards=1", "--seed=1"]
    assert prepare_data([*arguments, f"--output_dir={directory / 'data'}"]) == 0
    return directory / "data"


def task(scenes, trial_dir, attempt):
    work = task_service_pb2.TrainWork(
        trial_number=1,
        search_space="spinenet",
        nas_params_str=search_spaces.load("spinenet").references["spinenet49"],
        reward_metric="AP",
        trial_dir=str(trial_dir),
        attempt_dir=str(trial_dir / "attempts" / str(attempt)),
        measured=True,
    )
    work.spec.flags.update(
        {
            "model": "retinanet",
            "params_override": "fast_nas_detection_spinenet_search_for_testing.yaml",
            "training_data_path": f"{scenes}/train-*",
            "validation_data_path": f"{scenes}/validation-*",
        }
    )
    return task_service_pb2.Task(name="searchJobs/1/trials/1/tasks/train", attempt=attempt, train=work)


def test_a_detector_is_trained_over_two_attempts_evaluated_and_exported(scenes, tmp_path):
    handler = TrainHandler(Devices())
    # Asked once before the export, once before training and once after every step.
    first = FakeRun(task(scenes, tmp_path, 1), stop_after=2 + 3)
    with pytest.raises(TaskStopped):
        handler.handle(first)
    assert (tmp_path / "attempts/1/untrained/saved_model/saved_model.pb").exists()
    second = FakeRun(task(scenes, tmp_path, 2))
    outcome = handler.handle(second)
    assert outcome.step == STEPS
    assert 0 < outcome.metrics["resumed_from_step"] < STEPS
    assert 0 <= outcome.metrics["AP"] <= 1
    assert {"AP50", "AP75", "loss", "validation_loss", "multiply_adds"} <= set(outcome.metrics)
    # Sizes that no object has say nothing: COCO's evaluation calls them -1.
    assert all(value >= 0 for name, value in outcome.metrics.items() if name.startswith("AP"))
    assert (tmp_path / "attempts/2/saved_model/saved_model.pb").exists()
