"""Checkpoints of a trial: saved for certain, and found again by the next attempt."""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from official.core import train_lib

from nas_trainer.errors import DiskFull
from nas_trainer.training import curves
from nas_trainer.training.files import writing_to

log = logging.getLogger(__name__)

_INDEX = re.compile(r"ckpt-(\d+)\.index")


class CertainCheckpointManager(tf.train.CheckpointManager):
    """Says when there was no room; TensorFlow's own messages name a temporary file at best."""

    def save(self, *args: Any, **kwargs: Any) -> str | None:
        with writing_to(self.directory):
            return super().save(*args, **kwargs)

    def save_now(self, step: int) -> str:
        """The path of a checkpoint of `step`, which is saved unless it is there already.

        `save` alone returns None, without a word, within the interval between two checkpoints.
        """
        path: str | None = os.path.join(self.directory, f"ckpt-{step}")
        if self.latest_checkpoint != path:
            path = self.save(checkpoint_number=step, check_interval=False)
        if not path or not os.path.exists(f"{path}.index"):
            raise RuntimeError(f"the checkpoint of step {step} was not written to {self.directory}")
        return path


class ExperimentRunner(train_lib.OrbitExperimentRunner):
    """The library's runner with our checkpoint manager."""

    def _maybe_build_checkpoint_manager(self) -> tf.train.CheckpointManager:
        return CertainCheckpointManager(
            self.trainer.checkpoint,
            directory=self.model_dir,
            max_to_keep=self.params.trainer.max_to_keep,
            step_counter=self.trainer.global_step,
            checkpoint_interval=self.params.trainer.checkpoint_interval,
            init_fn=self.trainer.initialize,
        )


def adopt_newest(trial_dir: Path, attempt_dir: Path) -> int:
    """Copies the newest whole checkpoint of the trial's earlier attempts, and the curves up to it.

    A worker may have been killed while it wrote: a checkpoint counts once every tensor in it has
    been read back (TensorFlow checks their checksums). Attempts never write to one another's
    directories; that is why it is copied.

    Returns:
        The step it was saved at, 0 when there is none.
    """
    for step, prefix in _newest_first(trial_dir, attempt_dir):
        try:
            _read_all(prefix)
            # The curves first: once the checkpoint is there, nobody looks back.
            curves.carry_over(prefix.parent, attempt_dir, last_step=step)
            _copy(prefix, attempt_dir)
        except DiskFull:
            raise
        except Exception as error:
            # Half-written, or taken away by an attempt that is still alive: an older one will do.
            # TensorFlow's reader has an exception of another kind for every way to be damaged.
            log.warning("skipping checkpoint %s: %s: %s", prefix, type(error).__name__, error)
            continue
        log.info("going on from %s", prefix)
        return step
    return 0


def _newest_first(trial_dir: Path, attempt_dir: Path) -> Iterator[tuple[int, Path]]:
    found = [
        (int(match[1]), index.with_suffix(""))
        for index in trial_dir.glob("attempts/*/ckpt-*.index")
        if (match := _INDEX.fullmatch(index.name)) and index.parent != attempt_dir
    ]
    return iter(sorted(found, reverse=True))


def _read_all(prefix: Path) -> None:
    reader = tf.train.load_checkpoint(str(prefix))
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


def _copy(prefix: Path, attempt_dir: Path) -> None:
    with writing_to(attempt_dir):
        attempt_dir.mkdir(parents=True, exist_ok=True)
        # The index last: it is what makes the rest a checkpoint.
        parts = sorted(prefix.parent.glob(f"{prefix.name}.data-*"))
        parts.append(prefix.with_name(f"{prefix.name}.index"))
        for part in parts:
            temporary = attempt_dir / f".{part.name}.tmp"
            shutil.copyfile(part, temporary)
            os.replace(temporary, attempt_dir / part.name)
        tf.compat.v1.train.update_checkpoint_state(
            str(attempt_dir), prefix.name, all_model_checkpoint_paths=[prefix.name]
        )
