"""Trials that really train: files, resumption, stopping and every way to fail."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from nas.v1 import resources_pb2, task_service_pb2

from nas_shared import search_spaces
from nas_shared.work import StopReason, TaskFailed, TaskStopped
from nas_trainer import export_saved_model
from nas_trainer.devices import Devices
from nas_trainer.handler import TrainHandler
from nas_trainer.training import checkpoints

pytestmark = pytest.mark.slow

STEPS = 12
FAST = "mnasnet_fast_testing.yaml"


class FakeRun:
    """A task run whose order to stop comes when the handler has asked `stop_at` times."""

    def __init__(self, task, stop_at=None, reason=StopReason.TRIAL_STOPPED):
        self.task = task
        self.reports = []
        self._asked = 0
        self._stop_at = stop_at
        self._reason = reason

    @property
    def should_stop(self):
        self._asked += 1
        return self._stop_at is not None and self._asked > self._stop_at

    @property
    def stop_reason(self):
        stops = self._stop_at is not None and self._asked > self._stop_at
        return self._reason if stops else None

    def report(self, step, metrics, saved_model_dir=""):
        assert all(np.isfinite(value) for value in metrics.values())
        self.reports.append(
            SimpleNamespace(step=step, metrics=dict(metrics), saved_model_dir=saved_model_dir)
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images that are as bright as their class is high."""
    directory = tmp_path_factory.mktemp("data")
    chance = np.random.default_rng(0)
    for name, count in (("train", 160), ("validation", 100)):
        with tf.io.TFRecordWriter(str(directory / f"{name}.tfrecord")) as writer:
            for number in range(count):
                writer.write(record(number % 10, chance))
    return directory


def record(label, chance):
    pixels = chance.integers(0, 30, (32, 32, 3)) + 22 * label
    image = tf.io.encode_png(pixels.astype(np.uint8)).numpy()
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[32])),
        "image/width": tf.train.Feature(int64_list=tf.train.Int64List(value=[32])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def small_architecture():
    """Few, plain layers: the quickest to trace."""
    space = search_spaces.load("mnasnet")
    fewest = {"num_repeats": 1, "block_fn": 1, "expand_ratio": 1}
    choices = []
    for decision, count in zip(space.decisions, space.cardinalities, strict=True):
        choice = fewest.get(decision.name.rsplit(".", 1)[1], 0)
        choices.append(0 if decision.name == "blocks[0].num_repeats" else min(choice, count - 1))
    return space.nas_params_str(choices)


def task(data, trial_dir, *, attempt=1, measured=False, metric="top_1_accuracy", gpus=0, **flags):
    flags = {
        "params_override": FAST,
        "training_data_path": str(data / "train.tfrecord"),
        "validation_data_path": str(data / "validation.tfrecord"),
    } | flags
    work = task_service_pb2.TrainWork(
        trial_number=1,
        search_space="mnasnet",
        nas_params_str=small_architecture(),
        reward_metric=metric,
        trial_dir=str(trial_dir),
        attempt_dir=str(trial_dir / "attempts" / str(attempt)),
        measured=measured,
    )
    work.spec.flags.update(flags)
    work.spec.accelerator_count = gpus
    return task_service_pb2.Task(name="searchJobs/1/trials/1/tasks/train", attempt=attempt, train=work)


def handle(run):
    return TrainHandler(Devices()).handle(run)


def fails(run):
    with pytest.raises(TaskFailed) as caught:
        handle(run)
    return caught.value


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    trial_dir = tmp_path_factory.mktemp("finished")
    run = FakeRun(task(data, trial_dir, measured=True, multiple_eval_during_search="True"))
    return SimpleNamespace(outcome=handle(run), run=run, directory=trial_dir / "attempts" / "1")


def test_trial_reports_all_metrics(finished):
    assert finished.outcome.step == STEPS
    assert set(finished.outcome.metrics) == {
        *("top_1_accuracy", "top_5_accuracy", "loss", "validation_loss"),
        *("parameters", "trainable_parameters", "multiply_adds"),
        *("start_up_seconds", "train_seconds", "train_steps_per_s", "resumed_from_step"),
    }
    assert finished.outcome.metrics["resumed_from_step"] == 0


def test_trial_leaves_the_files_of_the_contract_and_nothing_half_written(finished):
    files = {path.name for path in finished.directory.iterdir()}
    assert files == {
        *("nas_params_str.json", "params.yaml", "checkpoint", "saved_model", "untrained"),
        *(f"ckpt-{STEPS}.index", f"ckpt-{STEPS}.data-00000-of-00001", "train", "validation"),
    }
    written = json.loads((finished.directory / "nas_params_str.json").read_text())
    assert written == json.loads(small_architecture())
    for events in ("train", "validation"):
        assert list((finished.directory / events).glob("events.out.tfevents.*"))


def test_params_file_builds_the_same_configuration_again(finished, data):
    from nas_trainer.flags import TrainerFlags
    from nas_trainer.training import experiment

    flags = TrainerFlags(
        params_override=str(finished.directory / "params.yaml"),
        training_data_path=str(data / "train.tfrecord"),
        validation_data_path=str(data / "validation.tfrecord"),
    )
    params = experiment.configure(
        flags, search_space="mnasnet", nas_params_str=small_architecture(), devices=Devices()
    )
    import yaml

    assert params.as_dict() == yaml.safe_load((finished.directory / "params.yaml").read_text())


def test_untrained_saved_model_is_reported_before_training(finished):
    first = finished.run.reports[0]
    assert first.step == 0
    assert first.saved_model_dir == str(finished.directory / "untrained" / "saved_model")
    assert [report.saved_model_dir for report in finished.run.reports[1:]] == [""] * (
        len(finished.run.reports) - 1
    )


def test_evaluations_during_training_are_reported(finished):
    evaluated = [report.step for report in finished.run.reports if "validation_loss" in report.metrics]
    assert evaluated == [4, 8, STEPS]


SERVE = """
import sys, json
sys.modules["official"] = None  # The Model Garden is not there.
import tensorflow as tf
saved = tf.saved_model.load(sys.argv[1])
serve = saved.signatures["serving_default"]
spec = serve.structured_input_signature[1]["inputs"]
assert spec.shape.as_list() == [1, None, None, 3] and spec.dtype == tf.uint8, spec
right = total = 0
for text in tf.data.TFRecordDataset(sys.argv[2]).as_numpy_iterator():
    feature = tf.train.Example.FromString(text).features.feature
    image = tf.io.decode_png(feature["image/encoded"].bytes_list.value[0])[tf.newaxis]
    label = feature["image/class/label"].int64_list.value[0]
    right += int(tf.argmax(serve(inputs=image)["probs"][0])) == label
    total += 1
print(json.dumps(right / total))
"""


def test_saved_model_serves_the_evaluated_weights_without_the_model_garden(finished, data):
    done = subprocess.run(
        [sys.executable, "-c", SERVE, finished.directory / "saved_model", data / "validation.tfrecord"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(finished.outcome.metrics["top_1_accuracy"])


def test_same_seed_gives_the_same_result_in_a_warm_worker(finished, data, tmp_path):
    again = handle(FakeRun(task(data, tmp_path)))
    for metric in ("top_1_accuracy", "validation_loss", "loss"):
        assert again.metrics[metric] == finished.outcome.metrics[metric]


def test_unwanted_trial_stops_after_the_step_and_saves_nothing(data, tmp_path):
    # One question before training, one after every step: the third step is the last.
    with pytest.raises(TaskStopped):
        handle(FakeRun(task(data, tmp_path), stop_at=3))
    assert not list(tmp_path.glob("attempts/1/ckpt-*"))


def test_worker_that_shuts_down_saves_the_step_and_the_next_attempt_goes_on(data, tmp_path):
    with pytest.raises(TaskStopped):
        handle(FakeRun(task(data, tmp_path), stop_at=3, reason=StopReason.SHUTDOWN))
    assert [path.name for path in tmp_path.glob("attempts/1/ckpt-*.index")] == ["ckpt-3.index"]
    before = snapshot(tmp_path / "attempts" / "1")
    outcome = handle(FakeRun(task(data, tmp_path, attempt=2)))
    assert outcome.step == STEPS
    assert outcome.metrics["resumed_from_step"] == 3
    assert snapshot(tmp_path / "attempts" / "1") == before


def snapshot(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


CHILD = """
import importlib.util, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("trials", sys.argv[1])
trials = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trials)
data, trial_dir = Path(sys.argv[2]), Path(sys.argv[3])
run = trials.FakeRun(trials.task(data, trial_dir, params_override=sys.argv[4]))
try:
    trials.handle(run)
except trials.TaskFailed as failure:
    print(failure.reason, failure.message)
"""


def child(data, trial_dir, override, **kwargs):
    command = [sys.executable, "-c", CHILD, __file__, str(data), str(trial_dir), str(override)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def test_killed_trial_goes_on_from_its_checkpoint(data, tmp_path):
    import yaml

    from nas_trainer import overrides

    endless = tmp_path / "endless.yaml"
    tree = overrides.read(FAST).tree
    tree["trainer"] |= {"train_steps": 100_000}
    endless.write_text(yaml.safe_dump(tree))
    worker = child(data, tmp_path, endless)
    wait_for(lambda: list(tmp_path.glob("attempts/1/ckpt-8.index")) or worker.poll() is not None)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    saved = max(int(path.stem.split("-")[1]) for path in tmp_path.glob("attempts/1/ckpt-*.index"))
    tree["trainer"] |= {"train_steps": saved + 4}
    endless.write_text(yaml.safe_dump(tree))
    outcome = handle(FakeRun(task(data, tmp_path, attempt=2, params_override=str(endless))))
    assert outcome.metrics["resumed_from_step"] >= 8
    assert outcome.step == saved + 4


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_damaged_checkpoint_is_passed_over_for_an_older_one(tmp_path):
    for step in (5, 9):
        directory = tmp_path / "attempts" / str(step)
        directory.mkdir(parents=True)
        tf.train.Checkpoint(weight=tf.Variable(tf.fill([1000], float(step)))).write(
            str(directory / f"ckpt-{step}")
        )
    data_file = tmp_path / "attempts" / "9" / "ckpt-9.data-00000-of-00001"
    data_file.write_bytes(data_file.read_bytes()[:1000])
    mine = tmp_path / "attempts" / "10"
    assert checkpoints.adopt_newest(tmp_path, mine) == 5
    assert tf.train.latest_checkpoint(str(mine)) == str(mine / "ckpt-5")


@pytest.mark.parametrize("skip", ["True", "False"])
def test_nan_loss_is_named_and_infeasible_only_on_request(data, tmp_path, skip):
    override = tmp_path / "nan.yaml"
    override.write_text(
        "trainer: {train_steps: 8, steps_per_loop: 4, optimizer_config: {warmup: {linear: {warmup_steps: 0}},"
        "learning_rate: {cosine: {initial_learning_rate: 1.0e+30, decay_steps: 8}}}}\n"
        "task: {model: {num_classes: 10, input_size: [32, 32, 3],"
        "backbone: {mnasnet: {filter_size_scale: 0.25}}},"
        "train_data: {global_batch_size: 16}}"
    )
    failure = fails(FakeRun(task(data, tmp_path, params_override=str(override), skip_nan_error=skip)))
    assert failure.reason == resources_pb2.NAN_LOSS
    assert failure.infeasible == (skip == "True")
    assert not failure.retryable
    assert "nan" in failure.message.lower()


def test_full_disk_is_named_by_its_directory(data, tmp_path):
    # The limit on the size of a file stands in for a full disk: the checkpoint does not fit.
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    worker = child(data, tmp_path, FAST, preexec_fn=limit)
    out, err = worker.communicate(timeout=180)
    assert worker.returncode == 0, err
    reason, message = out.splitlines()[-1].split(" ", 1)
    assert int(reason) == resources_pb2.RESOURCE_EXHAUSTED
    assert str(tmp_path / "attempts" / "1") in message


def test_checkpoint_on_a_full_file_system_is_named_by_its_directory(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no right to mount a file system of 64 KiB")
    try:
        checkpoint = tf.train.Checkpoint(weight=tf.Variable(tf.zeros([100_000])))
        manager = checkpoints.CertainCheckpointManager(checkpoint, str(mount), max_to_keep=1)
        with pytest.raises(OSError, match=str(mount)):
            manager.save_now(1)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_half_precision_training_serves_in_float32(data, tmp_path):
    override = tmp_path / "half.yaml"
    import yaml

    from nas_trainer import overrides

    tree = overrides.read(FAST).tree | {"runtime": {"mixed_precision_dtype": "bfloat16"}}
    override.write_text(yaml.safe_dump(tree))
    outcome = handle(FakeRun(task(data, tmp_path, params_override=str(override))))
    assert outcome.step == STEPS
    serve = tf.saved_model.load(str(tmp_path / "attempts" / "1" / "saved_model")).signatures[
        "serving_default"
    ]
    convolutions = [op for op in serve.graph.get_operations() if op.type == "Conv2D"]
    assert not convolutions or {op.outputs[0].dtype for op in convolutions} == {tf.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training_data_path": "nowhere/*.tfrecord"}, "training_data_path: .*nowhere"),
        ({"params_override": "task.model.num_classes=5,task.model.input_size=[32,32,3]"}, "label"),
        ({"learning_rate": "1"}, "learning_rate: unknown trainer flag"),
        ({"params_override": "trainer.steps=1"}, "params_override: trainer.steps: unknown key"),
        ({"metric": "AP"}, "nas_target_reward_metric: found 'AP'; expected one of .*top_1_accuracy"),
        ({"skip_eval": "True"}, "skip_eval: without evaluation there is no 'top_1_accuracy'"),
        ({"gpus": 2}, "accelerator_type: the job asks for 2 x GPU; this trainer uses 0 of the 0"),
    ],
)
def test_wrong_job_is_named_before_any_training(data, tmp_path, changes, message):
    failure = fails(FakeRun(task(data, tmp_path, **changes)))
    assert failure.reason == resources_pb2.INVALID_JOB
    assert not failure.retryable
    assert re.search(message, failure.message)
    assert not list(tmp_path.rglob("*"))


def test_architecture_outside_the_space_fails_its_trial_only(data, tmp_path):
    wrong = task(data, tmp_path)
    wrong.train.nas_params_str = '{"blocks[0].kernel_size": "7"}'
    failure = fails(FakeRun(wrong))
    assert failure.reason == resources_pb2.INVALID_MODEL
    assert "blocks[0]" in failure.message


def test_trial_without_evaluation_still_trains_and_exports(data, tmp_path):
    outcome = handle(FakeRun(task(data, tmp_path, metric="loss", skip_eval="True")))
    assert "loss" in outcome.metrics
    assert "top_1_accuracy" not in outcome.metrics
    assert (Path(tmp_path) / "attempts" / "1" / "saved_model" / "saved_model.pb").exists()
    assert os.listdir(tmp_path / "attempts") == ["1"]


# Stage 2


def logits(saved_model):
    """What an exported model makes of an image that is not all of one brightness."""
    images = tf.constant(np.arange(32 * 32 * 3).reshape(1, 32, 32, 3) % 251, tf.uint8)
    return (
        tf.saved_model.load(str(saved_model)).signatures["serving_default"](inputs=images)["logits"].numpy()
    )


def test_stage_2_starts_from_the_weights_of_its_search_trial(finished, data, tmp_path):
    asked = task(data, tmp_path, measured=True, retrain_use_search_job_checkpoint="True")
    asked.train.source_trial_dir = str(finished.directory)
    # Stopped before the first step, so that what was exported before training is still there.
    with pytest.raises(TaskStopped):
        handle(FakeRun(asked, stop_at=1))
    started = tmp_path / "attempts" / "1" / "untrained" / "saved_model"
    np.testing.assert_allclose(
        logits(started), logits(finished.directory / "saved_model"), rtol=1e-4, atol=1e-4
    )


def test_a_checkpoint_of_another_architecture_is_refused(finished, data, tmp_path):
    asked = task(data, tmp_path, retrain_use_search_job_checkpoint="True")
    asked.train.source_trial_dir = str(finished.directory)
    asked.train.nas_params_str = asked.train.nas_params_str.replace(
        '"blocks[3].kernel_size": "0/2 (3)"', '"blocks[3].kernel_size": "1/2 (5)"'
    )
    failed = fails(FakeRun(asked))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert re.search(
        r"ckpt-12 is of another network: 3 of \d+ weights .* found shape \(3, 3, .* expected \(5, 5,",
        str(failed),
    )


def test_a_search_trial_without_a_checkpoint_is_named(data, tmp_path):
    asked = task(data, tmp_path, retrain_use_search_job_checkpoint="True")
    asked.train.source_trial_dir = str(tmp_path / "nowhere")
    assert "found no checkpoint in" in str(fails(FakeRun(asked)))
    asked.train.source_trial_dir = ""
    assert "this trial has no search trial to start from" in str(fails(FakeRun(asked)))


def earlier_search(directory, **statuses):
    """Trials `t1`, `t2` … of a search that has ended, as their files tell of them."""
    for name, status in statuses.items():
        trial = directory / "nas" / "search" / name[1:]
        trial.mkdir(parents=True)
        (trial / "job_status.json").write_text(json.dumps({"job_status": status}))
        (trial / "nas_params_str.json").write_text(small_architecture())
    return directory


def test_trial_k_trains_the_kth_trial_of_an_earlier_search(data, tmp_path):
    search = earlier_search(tmp_path / "search", t4="success", t7="success")
    params = small_architecture().replace(
        '"blocks[3].kernel_size": "0/2 (3)"', '"blocks[3].kernel_size": "1/2 (5)"'
    )
    (search / "nas" / "search" / "7" / "nas_params_str.json").write_text(params)
    asked = task(
        data, tmp_path / "trial", retrain_search_job_dir=str(search), retrain_search_job_trials="4,7"
    )
    asked.train.trial_number = 2
    with pytest.raises(TaskStopped):
        handle(FakeRun(asked, stop_at=0))
    written = tmp_path / "trial" / "attempts" / "1" / "nas_params_str.json"
    assert written.read_text() == params


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("9", "found no trial that has ended in .*/9"),
        ("5", "/5 has the status 'failed'; expected 'success'"),
        ("4,x", "found 'x'; expected numbers of trials"),
        ("", "expected both or none"),
    ],
)
def test_a_trial_that_cannot_be_trained_is_named(data, tmp_path, numbers, message):
    search = earlier_search(tmp_path / "search", t4="success", t5="failed")
    flags = {"retrain_search_job_dir": str(search), "retrain_search_job_trials": numbers}
    failed = fails(FakeRun(task(data, tmp_path / "trial", **flags)))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert re.search(message, str(failed))


def test_a_job_with_more_trials_than_numbers_says_so(data, tmp_path):
    search = earlier_search(tmp_path / "search", t4="success")
    asked = task(data, tmp_path / "trial", retrain_search_job_dir=str(search), retrain_search_job_trials="4")
    asked.train.trial_number = 2
    assert "found 1 numbers (4); trial 2 has none to train" in str(fails(FakeRun(asked)))


# What is exported afterwards


def export(directory, export_dir, *arguments):
    """The command `export_saved_model` on a trial's directory; its exit code."""
    return export_saved_model.main(
        [
            f"--params_override={directory}/params.yaml",
            f"--checkpoint_path={directory}",
            f"--export_dir={export_dir}",
            *arguments,
        ]
    )


@pytest.mark.parametrize("input_type", ["image_bytes", "tflite"])
def test_what_is_exported_has_the_accuracy_of_the_trial(finished, tmp_path, capsys, input_type):
    accuracy = finished.outcome.metrics["top_1_accuracy"]
    (finished.directory / "model_analysis.json").write_text(json.dumps({"top_1_accuracy": accuracy}))
    assert export(finished.directory, tmp_path / "out", f"--input_type={input_type}") == 0
    assert f"top_1_accuracy of what was exported: {accuracy:.4f} on 100 images" in capsys.readouterr().out
    assert list((tmp_path / "out").glob("**/saved_model.pb"))


def test_an_export_that_is_not_as_good_as_the_trial_is_an_error(finished, tmp_path, capsys):
    (finished.directory / "model_analysis.json").write_text(json.dumps({"top_1_accuracy": 0.99}))
    assert export(finished.directory, tmp_path / "out") == 1
    assert "expected that of the trial, 0.9900" in capsys.readouterr().err


def test_an_export_that_cannot_be_made_leaves_nothing(finished, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(finished.directory, out, "--checkpoint_path=no/such") == 1
    assert "--checkpoint_path: found no checkpoint no/such" in capsys.readouterr().err
    params = (
        (finished.directory / "params.yaml")
        .read_text()
        .replace("filter_size_scale: 0.25", "filter_size_scale: 0.5")
    )
    (tmp_path / "wider.yaml").write_text(params)
    assert export(finished.directory, out, f"--params_override={tmp_path}/wider.yaml") == 1
    assert "ckpt-12 is of another network" in capsys.readouterr().err
    (tmp_path / "other.yaml").write_text("a: 1")
    assert export(finished.directory, out, f"--params_override={tmp_path}/other.yaml") == 1
    assert "other.yaml is no params.yaml of a trial" in capsys.readouterr().err
    assert export(finished.directory, out, "--params_override=nowhere.yaml") == 2
    assert not out.exists()
    out.mkdir()
    assert export(finished.directory, out) == 2
    assert "--overwrite=True replaces it" in capsys.readouterr().err
