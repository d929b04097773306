"""Image classification: where `params_override` starts from, and what can be wrong with it."""

from collections.abc import Mapping

from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import optimization
from official.vision.configs import common
from official.vision.configs import image_classification as classification
from official.vision.tasks import image_classification as _task  # noqa: F401  (registers the task)

from nas_trainer.errors import ConfigError
from nas_trainer.models.backbone import Backbone

EXPERIMENT = "nas_classification"
BACKBONE = "mnasnet"


@exp_factory.register_config_factory(EXPERIMENT)
def nas_classification() -> cfg.ExperimentConfig:
    """Where `params_override` starts from: MnasNet on images of 224x224 in 1000 classes."""
    return cfg.ExperimentConfig(
        task=classification.ImageClassificationTask(
            model=classification.ImageClassificationModel(
                num_classes=1000,
                input_size=[224, 224, 3],
                backbone=Backbone(),
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


def positive(params: cfg.ExperimentConfig) -> Mapping[str, float]:
    """Settings of the model that must be above 0, by their keys."""
    backbone = params.task.model.backbone.mnasnet
    return {
        "task.model.backbone.mnasnet.filter_size_scale": backbone.filter_size_scale,
        "task.model.backbone.mnasnet.divisible_by": backbone.divisible_by,
        "task.model.backbone.mnasnet.feature_filters": backbone.feature_filters,
        "task.evaluation.top_k": params.task.evaluation.top_k,
    }


def check(params: cfg.ExperimentConfig, source: str) -> None:
    """Raises ConfigError, naming the key, where settings do not go together."""
    task = params.task
    if task.evaluation.top_k > task.model.num_classes:
        raise ConfigError(
            f"{source}: task.evaluation.top_k: found {task.evaluation.top_k}; "
            f"there are {task.model.num_classes} classes"
        )
