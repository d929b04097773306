"""Curves over several attempts, and the reward beside them."""

import json

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas_shared.cli import CommandError
from nas_trainer.tensorboard import write_results
from nas_trainer.training import curves


def write_curve(directory, steps):
    """As the library writes it: one scalar per step."""
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("training_loss", 1 / step, step=step)
    writer.close()


def steps_of(directory):
    accumulator = EventAccumulator(str(directory)).Reload()
    return [event.step for event in accumulator.Tensors("training_loss")]


def test_an_attempt_takes_over_the_curve_up_to_its_first_step_and_no_further(tmp_path):
    earlier, later = tmp_path / "1", tmp_path / "2"
    write_curve(earlier / "train", [10, 20, 30])
    curves.carry_over(earlier, later, last_step=20)
    write_curve(later / "train", [30, 40])
    assert steps_of(later / "train") == [10, 20, 30, 40]
    assert not (later / "validation").exists()


def test_a_curve_whose_writer_was_killed_is_taken_over_as_far_as_it_goes(tmp_path):
    earlier, later = tmp_path / "1", tmp_path / "2"
    write_curve(earlier / "train", [10, 20, 30])
    (path,) = (earlier / "train").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    curves.carry_over(earlier, later, last_step=30)
    assert steps_of(later / "train") == [10, 20]


def test_a_third_attempt_takes_over_what_the_second_took_over(tmp_path):
    write_curve(tmp_path / "1" / "train", [10, 20])
    curves.carry_over(tmp_path / "1", tmp_path / "2", last_step=10)
    write_curve(tmp_path / "2" / "train", [20, 30])
    curves.carry_over(tmp_path / "2", tmp_path / "3", last_step=20)
    assert steps_of(tmp_path / "3" / "train") == [10, 20]


def test_the_reward_of_every_trial_becomes_a_scalar_at_its_number_once(tmp_path):
    for stage, number, reward in (("search", 1, 0.5), ("search", 12, 0.7), ("train", 13, 0.9)):
        trial = tmp_path / "job" / "nas" / stage / str(number)
        trial.mkdir(parents=True)
        content = {"reward": reward, "top_1_accuracy": 0.8, "device_type": "CPU"}
        (trial / "model_analysis.json").write_text(json.dumps(content))
    assert list(write_results(tmp_path).values()) == [True] * 3
    assert list(write_results(tmp_path).values()) == [False] * 3
    accumulator = EventAccumulator(str(tmp_path / "job/nas/search/12/result")).Reload()
    (event,) = accumulator.Scalars("result/reward")
    assert (event.step, event.value) == (12, pytest.approx(0.7))
    assert set(accumulator.Tags()["scalars"]) == {"result/reward", "result/top_1_accuracy"}


def test_a_damaged_analysis_is_named(tmp_path):
    trial = tmp_path / "nas" / "search" / "1"
    trial.mkdir(parents=True)
    (trial / "model_analysis.json").write_text("{")
    with pytest.raises(CommandError, match="nas/search/1/model_analysis.json: its scalars"):
        write_results(tmp_path)
