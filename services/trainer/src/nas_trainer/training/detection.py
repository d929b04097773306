"""Object detection: where `params_override` starts from, and what can be wrong with it."""

from collections.abc import Mapping

from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import optimization
from official.vision.configs import common, decoders, retinanet
from official.vision.tasks import retinanet as _task  # noqa: F401  (registers the task)

from nas_trainer.errors import ConfigError
from nas_trainer.models.backbone import Backbone
from nas_trainer.models.spinenet import SIZE_MULTIPLE

EXPERIMENT = "nas_detection"
BACKBONE = "nas_spinenet"


@exp_factory.register_config_factory(EXPERIMENT)
def nas_detection() -> cfg.ExperimentConfig:
    """RetinaNet (arXiv 1708.02002) on a SpineNet, images of 640x640 in 91 classes, background included.

    AP is COCO's, from the ground truth in the TFRecords themselves.
    """
    return cfg.ExperimentConfig(
        task=retinanet.RetinaNetTask(
            model=retinanet.RetinaNet(
                num_classes=91,
                input_size=[640, 640, 3],
                min_level=3,
                max_level=7,
                anchor=retinanet.Anchor(anchor_size=3.0),
                backbone=Backbone(type=BACKBONE),
                # SpineNet's features have all scales already.
                decoder=decoders.Decoder(type="identity"),
                norm_activation=common.NormActivation(
                    activation="swish", norm_momentum=0.99, norm_epsilon=1e-3, use_sync_bn=True
                ),
            ),
            losses=retinanet.Losses(l2_weight_decay=4e-5),
            train_data=retinanet.DataConfig(
                is_training=True,
                global_batch_size=64,
                dtype="float32",
                decoder=_decoder(),
                parser=retinanet.Parser(aug_rand_hflip=True, aug_scale_min=0.5, aug_scale_max=2.0),
            ),
            validation_data=retinanet.DataConfig(
                is_training=False,
                global_batch_size=8,
                dtype="float32",
                drop_remainder=False,
                decoder=_decoder(),
            ),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=10_000,
            steps_per_loop=500,
            summary_interval=500,
            checkpoint_interval=1000,
            validation_interval=5000,
            max_to_keep=1,
            # A NaN loss ends the trial (see loop.py) instead of being repeated from a checkpoint.
            recovery_max_trials=-1,
            optimizer_config=optimization.OptimizationConfig(
                {
                    "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
                    "learning_rate": {
                        "type": "cosine",
                        "cosine": {"initial_learning_rate": 0.08, "decay_steps": 10_000},
                    },
                    "warmup": {
                        "type": "linear",
                        "linear": {"warmup_learning_rate": 0.0067, "warmup_steps": 500},
                    },
                }
            ),
        ),
    )


def _decoder() -> common.DataDecoder:
    # Ids of images are optional in the data; evaluation only needs them to be different.
    return common.DataDecoder(simple_decoder=common.TfExampleDecoder(regenerate_source_id=True))


def positive(params: cfg.ExperimentConfig) -> Mapping[str, float]:
    """Settings of the model that must be above 0, by their keys."""
    model = params.task.model
    backbone = model.backbone.nas_spinenet
    return {
        "task.model.backbone.nas_spinenet.filter_size_scale": backbone.filter_size_scale,
        "task.model.backbone.nas_spinenet.endpoints_num_filters": backbone.endpoints_num_filters,
        "task.model.backbone.nas_spinenet.resample_alpha": backbone.resample_alpha,
        "task.model.backbone.nas_spinenet.block_repeats": backbone.block_repeats,
        "task.model.anchor.num_scales": model.anchor.num_scales,
        "task.model.anchor.anchor_size": model.anchor.anchor_size,
        "task.model.head.num_filters": model.head.num_filters,
    }


def check(params: cfg.ExperimentConfig, source: str) -> None:
    """Raises ConfigError, naming the key, where settings do not go together."""
    model = params.task.model
    for side in model.input_size[:2]:
        if side % SIZE_MULTIPLE:
            raise ConfigError(
                f"{source}: task.model.input_size: found {list(model.input_size)}; expected height and width "
                f"that are multiples of {SIZE_MULTIPLE}, as SpineNet's coarsest features need"
            )
    if model.num_classes < 2:
        raise ConfigError(
            f"{source}: task.model.num_classes: found {model.num_classes}; "
            "expected 2 or more, the background included"
        )
    if (model.min_level, model.max_level) != (3, 7):
        raise ConfigError(
            f"{source}: task.model.min_level, max_level: found {model.min_level}, {model.max_level}; "
            "expected 3, 7, the outputs of SpineNet"
        )
    if not model.anchor.aspect_ratios or min(model.anchor.aspect_ratios) <= 0:
        raise ConfigError(
            f"{source}: task.model.anchor.aspect_ratios: found {model.anchor.aspect_ratios}; "
            "expected one or more numbers above 0"
        )
    if params.task.annotation_file:
        raise ConfigError(
            f"{source}: task.annotation_file: found {params.task.annotation_file!r}; "
            "the ground truth comes from validation_data_path"
        )
