"""From a job's flags and a proposed architecture to the library's experiment configuration."""

import types
from collections.abc import Mapping
from typing import Any

from official.core import config_definitions as cfg
from official.core import exp_factory

from nas_trainer import overrides
from nas_trainer.devices import Devices
from nas_trainer.errors import ConfigError
from nas_trainer.flags import TrainerFlags
from nas_trainer.training import classification, detection

# What a trainer flag `model` means.
_MODELS: dict[str, types.ModuleType] = {"classification": classification, "retinanet": detection}
# Which of them build the networks of the shipped search spaces.
_MODEL_OF_SPACE = {"mnasnet": "classification", "mnasnet_a1": "classification", "spinenet": "retinanet"}


def model_of(search_space: str) -> str:
    """The trainer flag `model` that builds networks of a space; of a user's own, classifiers."""
    return _MODEL_OF_SPACE.get(search_space, "classification")


def configure(
    flags: TrainerFlags, *, search_space: str, nas_params_str: str, devices: Devices
) -> cfg.ExperimentConfig:
    """The full configuration of one trial; what `params.yaml` holds.

    Raises:
        ConfigError: an override or a flag is wrong, for every trial of the job.
    """
    if flags.search_space not in ("", search_space):
        raise ConfigError(f"search_space: found {flags.search_space!r}; the job searches {search_space!r}")
    expected = _MODEL_OF_SPACE.get(search_space, flags.model)
    if flags.model != expected:
        raise ConfigError(
            f"model: found {flags.model!r}; networks of search space {search_space!r} are for {expected!r}"
        )
    kind = _MODELS[flags.model]
    override = overrides.read(flags.params_override)
    params = exp_factory.get_exp_config(kind.EXPERIMENT)
    overrides.apply(params, override)
    backbone = params.task.model.backbone
    if backbone.type != kind.BACKBONE:
        raise ConfigError(
            f"{override.source}: task.model.backbone.type: found {backbone.type!r}; "
            f"expected {kind.BACKBONE!r}, with model={flags.model}"
        )
    backbone.get().search_space = search_space
    backbone.get().nas_params_str = nas_params_str
    params.task.train_data.input_path = flags.training_data_path
    params.task.validation_data.input_path = flags.validation_data_path
    _use(params, devices)
    _check(params, kind.positive(params), override.source)
    kind.check(params, override.source)
    trainer = params.trainer
    # Orbit wants whole loops between summaries; so does anybody who shortens the loop alone.
    loops = -(-trainer.summary_interval // trainer.steps_per_loop)
    trainer.summary_interval = loops * trainer.steps_per_loop
    params.validate()
    return params


def _use(params: cfg.ExperimentConfig, devices: Devices) -> None:
    """Fits the runtime to the devices: a configuration written for GPUs also runs on a CPU."""
    runtime = params.runtime
    runtime.num_gpus = devices.num_gpus
    runtime.distribution_strategy = devices.strategy
    if devices.num_gpus:
        runtime.mixed_precision_dtype = runtime.mixed_precision_dtype or "float16"
    else:
        # Never on a CPU: XLA trains ten times slower there, and float16 has no fast kernels.
        runtime.enable_xla = False
        if runtime.mixed_precision_dtype == "float16":
            runtime.mixed_precision_dtype = None


def _check(params: cfg.ExperimentConfig, of_model: Mapping[str, float], source: str) -> None:
    task, trainer = params.task, params.trainer
    positive: dict[str, Any] = {
        **of_model,
        "task.model.num_classes": task.model.num_classes,
        "task.train_data.global_batch_size": task.train_data.global_batch_size,
        "task.validation_data.global_batch_size": task.validation_data.global_batch_size,
        "trainer.train_steps": trainer.train_steps,
        "trainer.steps_per_loop": trainer.steps_per_loop,
        "trainer.summary_interval": trainer.summary_interval,
        "trainer.checkpoint_interval": trainer.checkpoint_interval,
        "trainer.validation_interval": trainer.validation_interval,
        "trainer.max_to_keep": trainer.max_to_keep,
    }
    for key, value in positive.items():
        if not value > 0:
            raise ConfigError(f"{source}: {key}: found {value}; expected a number above 0")
    size = task.model.input_size
    if len(size) != 3 or size[2] != 3 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ConfigError(
            f"{source}: task.model.input_size: found {size}; expected [height, width, 3] in pixels"
        )
    if trainer.validation_steps == 0 or trainer.validation_steps < -1:
        raise ConfigError(
            f"{source}: trainer.validation_steps: found {trainer.validation_steps}; "
            "expected -1 (all of the data) or a number above 0"
        )
    for data in ("train_data", "validation_data"):
        config = getattr(task, data)
        if config.tfds_name:
            raise ConfigError(
                f"{source}: task.{data}.tfds_name: found {config.tfds_name!r}; "
                f"data comes from {'training' if data == 'train_data' else 'validation'}_data_path"
            )
