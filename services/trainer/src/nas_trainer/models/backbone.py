"""The choice of backbones: the library's and ours."""

import dataclasses

from official.vision.configs import backbones

from nas_trainer.models.mnasnet import MnasNet
from nas_trainer.models.spinenet import SpineNet


@dataclasses.dataclass
class Backbone(backbones.Backbone):
    """The library's choice of backbones and ours, `task.model.backbone` in YAML."""

    type: str | None = "mnasnet"
    mnasnet: MnasNet = dataclasses.field(default_factory=MnasNet)
    nas_spinenet: SpineNet = dataclasses.field(default_factory=SpineNet)
