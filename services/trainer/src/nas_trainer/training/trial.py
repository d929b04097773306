"""One architecture, from configuration to trained weights."""

import contextlib
import functools
import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf
import tf_keras
from official.core import config_definitions as cfg
from official.core import train_utils
from official.modeling import optimization, performance

from nas_trainer.errors import ConfigError, ModelError, NanLoss
from nas_trainer.models import analysis
from nas_trainer.training import tasks
from nas_trainer.training.checkpoints import CertainCheckpointManager, ExperimentRunner
from nas_trainer.training.export import ServingModel
from nas_trainer.training.loop import ReportProgress, StepwiseTrainer

Report = Callable[[int, Mapping[str, float]], None]

_FLOAT32 = "float32"


def build_model(params: cfg.ExperimentConfig) -> tf_keras.Model:
    """The model `params` describe, untrained.

    Raises:
        ModelError: if it cannot be built.
    """
    try:
        return tasks.of(params.task).build_model()
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ModelError(f"the network cannot be built: {error}") from error


@contextlib.contextmanager
def fresh_session(params: cfg.ExperimentConfig) -> Iterator[None]:
    """TensorFlow as a new process would find it, though the process is warm.

    With a seed in `task.train_data.seed` the trial is repeatable: the seed also sets the initial
    weights and everything random in training.
    """
    tf_keras.backend.clear_session()
    if params.task.train_data.seed is not None:
        tf_keras.utils.set_random_seed(params.task.train_data.seed)
    performance.set_mixed_precision_policy(tf.as_dtype(params.runtime.mixed_precision_dtype or _FLOAT32))
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(_FLOAT32)
        tf_keras.backend.clear_session()
        gc.collect()


class Trial:
    """A model with what trains, evaluates and exports it.

    A checkpoint that lies in `directory` is restored.

    Args:
        params: full configuration.
        directory: where checkpoints and TensorBoard events go.
        report: hears progress about once per `trainer.steps_per_loop`, and every evaluation.
        strategy: how a batch is divided among devices.
        after_step: called after every training or evaluation step; may raise `StopTraining`.
        export_batch_size: images per inference of the SavedModels; None leaves it open.
    Raises:
        ModelError: if the architecture cannot be built with this configuration.
    """

    def __init__(
        self,
        params: cfg.ExperimentConfig,
        directory: Path,
        *,
        report: Report,
        after_step: Callable[[], None],
        strategy: tf.distribute.Strategy,
        export_batch_size: int | None = 1,
    ):
        self._params = params
        self._report = report
        self._strategy = strategy
        self._task = tasks.of(params.task, logging_dir=str(directory))
        with self._strategy.scope():
            model = build_model(params)
            optimizer = train_utils.create_optimizer(self._task, params)
            _create_slots(optimizer, model.trainable_variables)
            self._trainer = StepwiseTrainer(
                params, self._task, model=model, optimizer=optimizer, after_step=after_step
            )
        self._runner = ExperimentRunner(
            distribution_strategy=self._strategy,
            task=self._task,
            mode="train_and_eval",
            params=params,
            model_dir=str(directory),
            trainer=self._trainer,
            train_actions=[self._hear_training],
            eval_actions=[self._hear_evaluation],
        )
        self._progress = ReportProgress(self._trainer.global_step, report)
        self._loss: float | None = None
        self._export_batch_size = export_batch_size

    @property
    def model(self) -> tf_keras.Model:
        """The model that is trained."""
        return self._trainer.model

    @property
    def step(self) -> int:
        """Training steps done, those of earlier attempts included."""
        return int(self._trainer.global_step.numpy())

    def size(self) -> analysis.ModelSize:
        """Parameters and multiply-adds of the served model."""
        graph = self._serving.graph
        if graph.inputs[0].shape[0] != 1:
            graph = analysis.inference_graph(self._serving.model, list(self._params.task.model.input_size))
        return analysis.model_size(self._trainer.model, graph)

    def train(self, *, evaluates_often: bool) -> None:
        """Trains up to `trainer.train_steps` and leaves a checkpoint of the last step.

        Args:
            evaluates_often: also evaluate every `trainer.validation_interval` steps.
        Raises:
            NanLoss: the loss is no number any more.
            DiskFull: there is no room for a checkpoint.
            StopTraining: from `after_step`; nothing is saved.
        """
        trainer = self._params.trainer
        controller = self._runner.controller
        with self._strategy.scope(), _library_recovery_as_nan_loss():
            while self.step < trainer.train_steps:
                steps = trainer.train_steps
                if evaluates_often:
                    interval = trainer.validation_interval
                    steps = min(steps, (self.step // interval + 1) * interval)
                controller.train(steps, checkpoint_at_completion=False)
                if steps < trainer.train_steps:
                    controller.evaluate(trainer.validation_steps)
        self.save_checkpoint()

    def evaluate(self) -> dict[str, float]:
        """Metrics of the present weights on the validation data.

        Raises:
            ConfigError: the validation data is less than one batch, and incomplete ones are dropped.
            NanLoss: the loss is no number.
        """
        with self._strategy.scope():
            metrics = tasks.named(self._runner.controller.evaluate(self._params.trainer.validation_steps))
        if "validation_loss" not in metrics:
            raise ConfigError(
                "task.validation_data: no batch to evaluate; expected at least "
                f"{self._params.task.validation_data.global_batch_size} records or drop_remainder: false"
            )
        if not math.isfinite(metrics["validation_loss"]):
            raise NanLoss(f"the validation loss is {metrics['validation_loss']} after step {self.step}")
        return metrics

    @property
    def loss(self) -> float | None:
        """Training loss of the last loop; None before the first has ended."""
        return self._loss

    def save_checkpoint(self) -> None:
        """Makes sure that there is a checkpoint of the present step."""
        manager = self._runner.checkpoint_manager
        assert isinstance(manager, CertainCheckpointManager)
        manager.save_now(self.step)

    def export(self, path: Path) -> None:
        """Writes a SavedModel with the weights that `evaluate` evaluates."""
        optimizer = self._trainer.optimizer
        averaged = isinstance(optimizer, optimization.ExponentialMovingAverage) and self.step > 0
        if averaged:
            optimizer.swap_weights()
        try:
            if self._serving.model is not self._trainer.model:
                self._serving.model.set_weights(self._trainer.model.get_weights())
            self._serving.save(path)
        finally:
            if averaged:
                optimizer.swap_weights()

    @functools.cached_property
    def _serving(self) -> ServingModel:
        """Serves in float32 even where training computes in half precision: devices differ."""
        model = self._trainer.model
        policy = tf_keras.mixed_precision.global_policy()
        if policy.compute_dtype != _FLOAT32:
            tf_keras.mixed_precision.set_global_policy(_FLOAT32)
            try:
                model = build_model(self._params)
            finally:
                tf_keras.mixed_precision.set_global_policy(policy)
        return ServingModel(self._params, model, self._export_batch_size)

    def _hear_training(self, output: Mapping[str, tf.Tensor]) -> None:
        self._loss = float(output["training_loss"])
        self._progress(output)

    def _hear_evaluation(self, output: Mapping[str, tf.Tensor]) -> None:
        finite = {name: value for name, value in tasks.named(output).items() if math.isfinite(value)}
        self._report(self.step, finite)


def _create_slots(optimizer: tf_keras.optimizers.Optimizer, variables: Sequence[tf.Variable]) -> None:
    """Makes the optimizer's variables now.

    A step that makes variables is traced twice: once to find them, once to run.
    """
    create = getattr(optimizer, "build", None) or optimizer._create_all_weights
    create(variables)


@contextlib.contextmanager
def _library_recovery_as_nan_loss() -> Iterator[None]:
    """The library's own guard (`trainer.loss_upper_bound`) speaks through a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "loss value is" not in str(error):
            raise
        raise NanLoss(str(error)) from error
