"""The library's training loop, able to end after any step."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import orbit
import tensorflow as tf
from official.core import base_trainer
from orbit.utils import loop_fns

from nas_trainer.errors import NanLoss


class StopTraining(Exception):
    """Raised between two steps to leave the loop at once."""


class StepwiseTrainer(base_trainer.Trainer):
    """The library's trainer with a call to the host after every step.

    The library runs `steps_per_loop` steps inside one `tf.while_loop`, which nothing outside can
    end. Running the same traced step from the host costs nothing that can be measured (see
    `make bench-trainer`), starts sooner and lets `after_step` raise `StopTraining`.
    """

    def __init__(self, *args: Any, after_step: Callable[[], None], **kwargs: Any):
        self._after_step = after_step
        super().__init__(*args, **kwargs)

    def create_train_loop_fn(self) -> Callable[..., Any]:
        step = self._checked(self.train_step, self.config.trainer.train_tf_function)
        loop = loop_fns.create_loop_fn(step)
        # As a number: comparing with a tensor would run two operations per step.
        return lambda iterator, num_steps: loop(iterator, int(num_steps))

    def create_eval_loop_fn(self, has_state: bool) -> Callable[..., Any]:
        return loop_fns.create_loop_fn(self._checked(self.eval_step, self.config.trainer.eval_tf_function))

    def _checked(self, step_fn: Callable[..., Any], traced: bool) -> Callable[..., Any]:
        step: Callable[..., Any] | None = None if traced else step_fn

        def checked_step(iterator: Any) -> Any:
            nonlocal step
            if step is None:
                # Called directly, the one trace saves what tf.function does to find it: 5 % of a
                # step on small images.
                step = tf.function(step_fn).get_concrete_function(iterator)
            outputs = step(iterator)
            self._after_step()
            return outputs

        return checked_step


class ReportProgress:
    """Orbit action: hears the result of every loop and passes it on.

    Args:
        global_step: the trainer's step counter.
        report: called with the step and `loss`, `learning_rate`, `train_steps_per_s`.
        min_seconds: time between two reports; loops may be short.
        clock: seconds, monotonic.
    Raises:
        NanLoss: when called with a loss that is no finite number.
    """

    def __init__(
        self,
        global_step: tf.Variable,
        report: Callable[[int, Mapping[str, float]], None],
        *,
        min_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._global_step = global_step
        self._report = report
        self._min_seconds = min_seconds
        self._clock = clock
        self._last_step = int(global_step.numpy())
        self._last_time = clock()

    def __call__(self, output: orbit.runner.Output) -> None:
        step = int(self._global_step.numpy())
        loss = float(output["training_loss"])
        if not math.isfinite(loss):
            raise NanLoss(f"the loss is {loss} after step {step}")
        seconds = self._clock() - self._last_time
        if seconds < self._min_seconds:
            return
        self._report(
            step,
            {
                "loss": loss,
                "learning_rate": float(output["learning_rate"]),
                "train_steps_per_s": (step - self._last_step) / seconds,
            },
        )
        self._last_step, self._last_time = step, self._clock()
