"""Progress reports and the loop's edges, without a network."""

import pytest
import tensorflow as tf

from nas_trainer.errors import DiskFull, NanLoss
from nas_trainer.memory import grows_beyond
from nas_trainer.training import files
from nas_trainer.training.loop import ReportProgress


def test_progress_is_reported_at_most_once_per_interval():
    step, now, heard = tf.Variable(0, dtype=tf.int64), [0.0], []
    progress = ReportProgress(step, lambda *report: heard.append(report), min_seconds=1, clock=lambda: now[0])
    for seconds, steps in ((0.5, 10), (2.0, 20)):
        now[0] = seconds
        step.assign(steps)
        progress({"training_loss": 1.5, "learning_rate": 0.1})
    assert heard == [(20, {"loss": 1.5, "learning_rate": 0.1, "train_steps_per_s": 10.0})]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_the_loop(loss):
    progress = ReportProgress(tf.Variable(3, dtype=tf.int64), lambda *_: None)
    with pytest.raises(NanLoss, match="after step 3"):
        progress({"training_loss": loss, "learning_rate": 0.1})


def test_directory_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "saved_model"
    with pytest.raises(RuntimeError, match="half"), files.new_directory(target) as directory:
        (directory / "part").write_text("1")
        raise RuntimeError("half")
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second"):
        with files.new_directory(target) as directory:
            (directory / "part").write_text(text)
    assert (target / "part").read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "x.tmp; No space left on device"),
    ],
)
def test_full_disk_is_named_by_directory(tmp_path, error):
    with pytest.raises(DiskFull, match=str(tmp_path)), files.writing_to(tmp_path):
        raise error


def test_out_of_device_memory_is_no_full_disk(tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM"), files.writing_to(tmp_path):
        raise error


def test_worker_recycles_beyond_its_memory_mark():
    assert grows_beyond(1)()
    assert not grows_beyond(1e9)()
    assert not grows_beyond(0)()
