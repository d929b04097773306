"""Stage 2: which architecture a trial trains, and which weights it starts from."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import tf_keras
from nas.v1 import task_service_pb2

from nas_trainer.errors import ConfigError
from nas_trainer.flags import TrainerFlags

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT/"
_NOT_OF_THE_MODEL = ("optimizer/", "global_step/", "save_counter/")


@dataclass(frozen=True)
class Source:
    """Where the architecture of a trial comes from.

    Attributes:
        nas_params_str: the architecture.
        directory: of the search trial that had it; None when there is none.
    """

    nas_params_str: str
    directory: Path | None


def source_of(flags: TrainerFlags, work: task_service_pb2.TrainWork) -> Source:
    """The architecture of a trial: the job's, or, with `retrain_search_job_dir`, that of an earlier search.

    Then trial k of this job takes the k-th number of `retrain_search_job_trials`.

    Raises:
        ConfigError: naming the flag, if there is no such trial, or it did not succeed.
    """
    if not flags.retrain_search_job_dir:
        directory = Path(work.source_trial_dir) if work.source_trial_dir else None
        if flags.retrain_use_search_job_checkpoint and directory is None:
            raise ConfigError(
                "retrain_use_search_job_checkpoint: this trial has no search trial to start from; "
                "expected one of stage 2, or retrain_search_job_dir"
            )
        return Source(work.nas_params_str, directory)
    numbers = flags.retrain_trial_numbers
    if work.trial_number > len(numbers):
        raise ConfigError(
            f"retrain_search_job_trials: found {len(numbers)} numbers ({flags.retrain_search_job_trials}); "
            f"trial {work.trial_number} has none to train"
        )
    directory = Path(flags.retrain_search_job_dir, "nas", "search", str(numbers[work.trial_number - 1]))
    _check_succeeded(directory)
    path = directory / "nas_params_str.json"
    try:
        return Source(path.read_text("utf-8"), directory)
    except OSError as error:
        raise ConfigError(f"retrain_search_job_dir: {path} cannot be read: {error.strerror}") from error


def _check_succeeded(directory: Path) -> None:
    path = directory / "job_status.json"
    try:
        status = json.loads(path.read_text("utf-8"))["job_status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"retrain_search_job_dir: found no trial that has ended in {directory}; expected its "
            f"job_status.json ({type(error).__name__})"
        ) from error
    if status != "success":
        raise ConfigError(
            f"retrain_search_job_dir: {directory} has the status {status!r}; expected 'success'"
        )


def start_from(model: tf_keras.Model, directory: Path) -> str:
    """Gives `model` the weights of a search trial; the optimizer and the step start anew.

    Args:
        model: built, of the trial's architecture.
        directory: of the search trial.
    Returns:
        The checkpoint.
    Raises:
        ConfigError: there is no checkpoint, or one of another network; `model` is as it was.
    """
    checkpoint = tf.train.latest_checkpoint(str(directory))
    if checkpoint is None:
        raise ConfigError(
            f"retrain_use_search_job_checkpoint: found no checkpoint in {directory}; expected one"
        )
    check_fits(model, checkpoint, "retrain_use_search_job_checkpoint")
    restore(model, checkpoint)
    return str(checkpoint)


def check_fits(model: tf_keras.Model, checkpoint: str, flag: str) -> None:
    """Sees that a checkpoint holds the weights of `model`, and no others.

    TensorFlow restores what it can of a checkpoint of another network, without a word.

    Args:
        flag: what named the checkpoint, for messages.
    Raises:
        ConfigError: with the first shape in which the two differ.
    """
    try:
        shapes = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    except Exception as error:  # TensorFlow has an exception of another kind for every way to be damaged.
        raise ConfigError(f"{flag}: {checkpoint} is no checkpoint that can be read: {error}") from error
    stored = Counter(
        tuple(shape)
        for name, shape in shapes.items()
        if name.endswith(_VALUE) and _SLOT not in name and not name.startswith(_NOT_OF_THE_MODEL)
    )
    wanted = Counter(tuple(variable.shape) for variable in model.weights)
    if stored == wanted:
        return
    missing, extra = wanted - stored, stored - wanted
    found = next(iter(sorted(extra)), None)
    expected = next(iter(sorted(missing)), None)
    raise ConfigError(
        f"{flag}: {checkpoint} is of another network: {sum(missing.values())} of {len(model.weights)} "
        f"weights of this one are not in it; for example found shape {found}, expected {expected}"
    )


def restore(model: tf_keras.Model, checkpoint: str) -> None:
    """Reads the weights of `model`, and nothing else, from a checkpoint that fits."""
    status = tf.train.Checkpoint(model=model).read(checkpoint)
    status.expect_partial().assert_existing_objects_matched()
