"""MnasNet-like networks from the Model Garden's MobileNet blocks.

A proposal of the search space becomes a table of block rows, the table becomes an entry of the
library's `SUPPORTED_SPECS_MAP`, and the library builds the network. Nothing of the network is
written here: what a `mbconv` or a squeeze-and-excitation is stays the library's business.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import tf_keras
from official.modeling import hyperparams
from official.vision.modeling.backbones import factory, mobilenet

from nas_shared import search_spaces

# Stem: 3x3 convolution of stride 2; then seven stages; then a 1x1 convolution to the features.
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_FILTERS = 32
FEATURE_FILTERS = 1280

_ROW_SCHEMA = [
    "block_fn",
    "kernel_size",
    "strides",
    "filters",
    "activation",
    "expand_ratio",
    "se_ratio",
    "is_output",
]


@dataclasses.dataclass
class MnasNet(hyperparams.Config):
    """Backbone configuration, `task.model.backbone.mnasnet` in YAML.

    Attributes:
        search_space: name or `module:attribute` of the space `nas_params_str` belongs to.
        nas_params_str: JSON of the sampled decisions; the trainer fills it in for every trial.
        filter_size_scale: width multiplier of every convolution, > 0. 1.0 is the space's own.
        divisible_by: filters are rounded to multiples of this. 1 keeps the space's widths.
        feature_filters: filters of the last 1x1 convolution, before `filter_size_scale`.
        stochastic_depth_drop_rate: probability of dropping a residual branch, 0..1.
        flat_stochastic_depth_drop_rate: the same rate for all blocks instead of a ramp.
    """

    search_space: str = "mnasnet"
    nas_params_str: str = ""
    filter_size_scale: float = 1.0
    divisible_by: int = 8
    feature_filters: int = FEATURE_FILTERS
    stochastic_depth_drop_rate: float = 0.0
    flat_stochastic_depth_drop_rate: bool = True


class Stage(Protocol):
    """One of the seven stages, as the search space materialises it."""

    num_repeats: int
    block_fn: str
    expand_ratio: int
    kernel_size: int
    se_ratio: float
    output_filters: int


def block_specs(stages: Sequence[Stage], config: MnasNet, activation: str) -> dict[str, Any]:
    """The library's table of block rows for an architecture.

    The library multiplies `se_ratio` with the *expanded* filters of a block; the paper (and the
    search space) mean its input filters. Dividing by the expansion makes the two agree.

    Raises:
        ValueError: if the space has another number of stages or an unknown `block_fn`.
    """
    if len(stages) != len(STAGE_STRIDES):
        raise ValueError(
            f"search space {config.search_space!r} has {len(stages)} stages; "
            f"the mnasnet backbone has {len(STAGE_STRIDES)}"
        )
    rows: list[tuple[Any, ...]] = [("convbn", 3, 2, STEM_FILTERS, activation, None, None, False)]
    for index, (stage, stride) in enumerate(zip(stages, STAGE_STRIDES, strict=True)):
        # Endpoints, as decoders expect them: the last layer of every size from a quarter of the
        # image down. Never ten or more: the library picks the last one by string order.
        is_last_of_its_size = index + 1 == len(stages) or STAGE_STRIDES[index + 1] > 1
        is_output = is_last_of_its_size and index > 0
        for repeat in range(stage.num_repeats):
            rows.append(
                _row(
                    stage,
                    stride if repeat == 0 else 1,
                    activation,
                    is_output and repeat + 1 == stage.num_repeats,
                )
            )
    rows.append(("convbn", 1, 1, config.feature_filters, activation, None, None, False))
    return {"spec_name": "MnasNet", "block_spec_schema": _ROW_SCHEMA, "block_specs": rows}


def _row(stage: Stage, stride: int, activation: str, is_output: bool) -> tuple[Any, ...]:
    if stage.block_fn == "conv":
        kind, expand_ratio, se_ratio = "convbn", None, None
    elif stage.block_fn == "mbconv":
        kind, expand_ratio = "invertedbottleneck", float(stage.expand_ratio)
        se_ratio = stage.se_ratio / stage.expand_ratio if stage.se_ratio else None
    else:
        raise ValueError(f"block_fn is {stage.block_fn!r}; expected 'conv' or 'mbconv'")
    return (
        kind,
        stage.kernel_size,
        stride,
        stage.output_filters,
        activation,
        expand_ratio,
        se_ratio,
        is_output,
    )


@factory.register_backbone_builder("mnasnet")
def build_mnasnet(
    input_specs: tf_keras.layers.InputSpec,
    backbone_config: hyperparams.Config,
    norm_activation_config: hyperparams.Config,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> tf_keras.Model:
    """Builds the backbone a `Backbone` configuration (see `backbone.py`) of type `mnasnet` describes.

    Raises:
        NasParamsError: if `nas_params_str` does not fit the search space.
    """
    config: MnasNet = backbone_config.get()
    architecture = search_spaces.load(config.search_space).materialize(config.nas_params_str)
    specs = block_specs(architecture.blocks, config, norm_activation_config.activation)
    model_id = f"MnasNet_{hashlib.sha256(repr(specs).encode()).hexdigest()[:16]}"
    mobilenet.SUPPORTED_SPECS_MAP[model_id] = specs
    return mobilenet.MobileNet(
        model_id=model_id,
        filter_size_scale=config.filter_size_scale,
        divisible_by=config.divisible_by,
        # Narrow networks keep narrow features: the multiplier means the whole network.
        finegrain_classification_mode=False,
        input_specs=input_specs,
        stochastic_depth_drop_rate=config.stochastic_depth_drop_rate,
        flat_stochastic_depth_drop_rate=config.flat_stochastic_depth_drop_rate,
        use_sync_bn=norm_activation_config.use_sync_bn,
        norm_momentum=norm_activation_config.norm_momentum,
        norm_epsilon=norm_activation_config.norm_epsilon,
        kernel_regularizer=l2_regularizer,
    )
