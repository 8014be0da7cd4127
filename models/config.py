"""What can be built: the fields of a model, checked at birth. Light: no torch.

The number of classes is not here: it belongs to the data, and `build_model` is told it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """The base of every configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Fraction = Annotated[float, Field(ge=0, le=1)]


class ConvNeXtConfig(Config):
    """A ConvNeXt (Liu et al. 2022, arXiv:2201.03545) with a choice of stem, depths and widths."""

    family: Literal["convnext"]
    stem: Literal["patch", "conv"]
    """`patch`: one conv with kernel = stride, then LayerNorm. `conv`: 3x3 convs of stride 2, each
    with LayerNorm and GELU (Singh et al. 2023, arXiv:2303.01870)."""
    stem_stride: Literal[2, 4]
    """Downsampling by the stem; 4 in the paper, 2 for small images."""
    depths: tuple[Annotated[int, Field(ge=1)], ...]
    """Blocks of each stage."""
    widths: tuple[Annotated[int, Field(ge=8, multiple_of=2)], ...]
    """Channels of each stage."""
    layer_scale: float = Field(ge=0)
    """Initial value of LayerScale; 1e-6 in the paper, 0 leaves it out."""
    drop_path: float = Field(ge=0, lt=1)
    """Highest stochastic-depth rate; it rises linearly with depth."""
    normalize: Literal["none", "half", "imagenet", "cifar"]
    """Mean and standard deviation applied inside the model; attacks never see it."""

    @model_validator(mode="after")
    def _stages_agree(self) -> "ConvNeXtConfig":
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ValueError(
                f"depths {list(self.depths)} and widths {list(self.widths)} must name the same "
                "number of stages, at least one"
            )
        return self


class TimmConfig(Config):
    """Any model of the timm library, with random weights."""

    family: Literal["timm"]
    name: str
    """Name in timm's registry, such as `resnet18` or `xcit_nano_12_p16_224`."""
    drop_path: float = Field(ge=0, lt=1)
    """Highest stochastic-depth rate; 0 for models that have none."""
    normalize: Literal["none", "half", "imagenet", "cifar"]
    """Mean and standard deviation applied inside the model; attacks never see it."""


ModelConfig = Annotated[ConvNeXtConfig | TimmConfig, Field(discriminator="family")]
