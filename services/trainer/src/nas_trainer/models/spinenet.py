"""Scale-permuted backbones from the Model Garden's SpineNet.

A proposal of the search space becomes the list of blocks that the library builds. Nothing of the network
is written here: how features are resampled and merged stays the library's business.
"""

import dataclasses

import tf_keras
from official.modeling import hyperparams
from official.vision.modeling.backbones import factory, spinenet

from nas_shared import search_spaces

# Inputs are halved so often on the way to the coarsest output; other sizes would be padded.
SIZE_MULTIPLE = 128


@dataclasses.dataclass
class SpineNet(hyperparams.Config):
    """Backbone configuration, `task.model.backbone.nas_spinenet` in YAML.

    The scaled networks of arXiv 1912.05027 (section 3.3) are settings of it; SpineNet-96 repeats blocks.
    SpineNet-49S, published with 12.0M parameters and 33.8B multiply-adds at 640 pixels, is
    `filter_size_scale=0.65` with a head of 128 filters on endpoints that stay 256 wide; the library's own
    configuration of that name narrows the endpoints, too, and comes to 11.3M and 31.0B.

    Attributes:
        search_space: name or `module:attribute` of the space `nas_params_str` belongs to.
        nas_params_str: JSON of the sampled decisions; the trainer fills it in for every trial.
        filter_size_scale: width multiplier of every block, > 0.
        endpoints_num_filters: width of the features that go to the head.
        resample_alpha: width, over that of its input, at which features are resampled, > 0.
        block_repeats: layers per block.
        stochastic_depth_drop_rate: probability of dropping the last residual branch, 0..1; earlier ones less.
    """

    search_space: str = "spinenet"
    nas_params_str: str = ""
    filter_size_scale: float = 1.0
    endpoints_num_filters: int = 256
    resample_alpha: float = 0.5
    block_repeats: int = 1
    stochastic_depth_drop_rate: float = 0.0


@factory.register_backbone_builder("nas_spinenet")
def build_spinenet(
    input_specs: tf_keras.layers.InputSpec,
    backbone_config: hyperparams.Config,
    norm_activation_config: hyperparams.Config,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> tf_keras.Model:
    """Builds the backbone a `Backbone` configuration (see `backbone.py`) of type `nas_spinenet` describes.

    Raises:
        NasParamsError: if `nas_params_str` does not fit the search space.
    """
    config: SpineNet = backbone_config.get()
    architecture = search_spaces.load(config.search_space).materialize(config.nas_params_str)
    specs = architecture.block_specs()
    outputs = [spec.level for spec in specs if spec.is_output]
    return spinenet.SpineNet(
        input_specs=input_specs,
        min_level=min(outputs),
        max_level=max(outputs),
        block_specs=[
            spinenet.BlockSpec(spec.level, spec.block_fn, spec.inputs, spec.is_output) for spec in specs
        ],
        endpoints_num_filters=config.endpoints_num_filters,
        resample_alpha=config.resample_alpha,
        block_repeats=config.block_repeats,
        filter_size_scale=config.filter_size_scale,
        init_stochastic_depth_rate=config.stochastic_depth_drop_rate,
        kernel_regularizer=l2_regularizer,
        activation=norm_activation_config.activation,
        use_sync_bn=norm_activation_config.use_sync_bn,
        norm_momentum=norm_activation_config.norm_momentum,
        norm_epsilon=norm_activation_config.norm_epsilon,
    )
