"""From a job's flags and a proposed architecture to the library's experiment configuration."""

from typing import Any

from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import optimization
from official.vision.configs import common
from official.vision.configs import image_classification as classification
from official.vision.tasks import image_classification as _task  # noqa: F401  (registers the task)

from nas_trainer import overrides
from nas_trainer.devices import Devices
from nas_trainer.errors import ConfigError
from nas_trainer.flags import TrainerFlags
from nas_trainer.models import mnasnet

EXPERIMENT = "nas_classification"


@exp_factory.register_config_factory(EXPERIMENT)
def nas_classification() -> cfg.ExperimentConfig:
    """Where `params_override` starts from: MnasNet on images of 224x224 in 1000 classes."""
    return cfg.ExperimentConfig(
        task=classification.ImageClassificationTask(
            model=classification.ImageClassificationModel(
                num_classes=1000,
                input_size=[224, 224, 3],
                backbone=mnasnet.Backbone(),
                norm_activation=common.NormActivation(
                    activation="relu", norm_momentum=0.99, norm_epsilon=1e-3, use_sync_bn=False
                ),
            ),
            losses=classification.Losses(l2_weight_decay=1e-5, label_smoothing=0.1),
            train_data=classification.DataConfig(
                is_training=True, global_batch_size=256, decode_jpeg_only=False
            ),
            validation_data=classification.DataConfig(
                is_training=False, global_batch_size=256, decode_jpeg_only=False, drop_remainder=False
            ),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=25_000,
            steps_per_loop=500,
            summary_interval=500,
            checkpoint_interval=2500,
            validation_interval=5000,
            max_to_keep=1,
            # A NaN loss ends the trial (see loop.py) instead of being repeated from a checkpoint.
            recovery_max_trials=-1,
            optimizer_config=optimization.OptimizationConfig(
                {
                    "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9, "nesterov": True}},
                    "learning_rate": {
                        "type": "cosine",
                        "cosine": {"initial_learning_rate": 0.1, "decay_steps": 25_000},
                    },
                    "warmup": {
                        "type": "linear",
                        "linear": {"warmup_learning_rate": 0.0, "warmup_steps": 1250},
                    },
                }
            ),
        ),
    )


def configure(
    flags: TrainerFlags, *, search_space: str, nas_params_str: str, devices: Devices
) -> cfg.ExperimentConfig:
    """The full configuration of one trial; what `params.yaml` holds.

    Raises:
        ConfigError: an override or a flag is wrong, for every trial of the job.
    """
    if flags.search_space not in ("", search_space):
        raise ConfigError(f"search_space: found {flags.search_space!r}; the job searches {search_space!r}")
    override = overrides.read(flags.params_override)
    params = exp_factory.get_exp_config(EXPERIMENT)
    overrides.apply(params, override)
    backbone = params.task.model.backbone
    if backbone.type != "mnasnet":
        raise ConfigError(
            f"{override.source}: task.model.backbone.type: found {backbone.type!r}; expected 'mnasnet'"
        )
    backbone.mnasnet.search_space = search_space
    backbone.mnasnet.nas_params_str = nas_params_str
    params.task.train_data.input_path = flags.training_data_path
    params.task.validation_data.input_path = flags.validation_data_path
    _use(params, devices)
    _check(params, override.source)
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


def _check(params: cfg.ExperimentConfig, source: str) -> None:
    task, trainer = params.task, params.trainer
    positive: dict[str, Any] = {
        "task.model.num_classes": task.model.num_classes,
        "task.model.backbone.mnasnet.filter_size_scale": task.model.backbone.mnasnet.filter_size_scale,
        "task.model.backbone.mnasnet.divisible_by": task.model.backbone.mnasnet.divisible_by,
        "task.model.backbone.mnasnet.feature_filters": task.model.backbone.mnasnet.feature_filters,
        "task.train_data.global_batch_size": task.train_data.global_batch_size,
        "task.validation_data.global_batch_size": task.validation_data.global_batch_size,
        "trainer.train_steps": trainer.train_steps,
        "trainer.steps_per_loop": trainer.steps_per_loop,
        "trainer.summary_interval": trainer.summary_interval,
        "trainer.checkpoint_interval": trainer.checkpoint_interval,
        "trainer.validation_interval": trainer.validation_interval,
        "trainer.max_to_keep": trainer.max_to_keep,
        "task.evaluation.top_k": task.evaluation.top_k,
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
    if task.evaluation.top_k > task.model.num_classes:
        raise ConfigError(
            f"{source}: task.evaluation.top_k: found {task.evaluation.top_k}; "
            f"there are {task.model.num_classes} classes"
        )
    for data in ("train_data", "validation_data"):
        config = getattr(task, data)
        if config.tfds_name:
            raise ConfigError(
                f"{source}: task.{data}.tfds_name: found {config.tfds_name!r}; "
                f"data comes from {'training' if data == 'train_data' else 'validation'}_data_path"
            )
