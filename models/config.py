"""What can be built: the fields of a model, checked at birth. Light: no torch.

The number of classes is not here: it belongs to the data, and `build_model` is told it.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """The base of every configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


FREEZE = r"^(none|stem|all_but_stem|first_[1-9][0-9]*)$"
"""What `models.freeze.freeze` takes."""
Layout = Literal["rampart", "timm", "revisiting", "debenedetti"]
"""Of a file of weights: ours, timm's, Singh et al.'s (2023, arXiv:2303.01870) and Debenedetti et
al.'s (2023, arXiv:2209.07399), the last two as their published code saves a model in training."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Depth = Annotated[int, Field(ge=1)]
Activation = Literal["gelu", "relu", "silu"]
Stride = Literal[1, 2, 4, 8, 16, 32]


class FamilyConfig(Config):
    """What every family has, and the refusal of what only others have."""

    drop_path: float = Field(ge=0, lt=1)
    """Highest stochastic-depth rate; it rises linearly with depth, but is the same for all blocks
    of an XCiT, as published."""
    head_dropout: float = Field(ge=0, lt=1)
    """Rate of dropout before the last linear layer."""
    blur_pool: bool
    """Blurs (3x3 binomial) before every strided convolution with at least 16 inputs (Zhang 2019,
    arXiv:1904.11486; the threshold is Singh et al.'s); refused where there is none."""
    normalize: Literal["none", "half", "imagenet", "cifar"]
    """Mean and standard deviation applied inside the model; attacks never see it."""

    @model_validator(mode="before")
    @classmethod
    def _fields_belong_to_the_family(cls, data: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name not in cls.model_fields and (owners := _owners(name)):
                mine = sorted(set(cls.model_fields) - set(FamilyConfig.model_fields))
                raise ValueError(
                    f"{name} is a field of family {' or '.join(owners)}, not of "
                    f"{data.get('family')!r}, which has {', '.join(mine)}"
                )
        return data


class StemConfig(FamilyConfig):
    """The fields of our stems; the families add the kinds of stem and its stride."""

    stem_convs: int = Field(ge=1, le=8)
    """3x3 convolutions of a `conv` stem; with the paper's own number, as many as halve the image,
    and one more in ConvNeXt-B and L. For lower strides the first of them keep the size."""
    stem_widths: Literal["doubling", "linear"] | tuple[Annotated[int, Field(ge=4)], ...]
    """Channels of each of them. `doubling`: up to the width of the network; `linear`: evenly from
    half of it; else a list, one entry for each. Never below 4, where a LayerNorm over one or two
    channels would pass no gradient."""
    stem_projection: bool
    """Whether a 1x1 convolution to the width of the network ends a `conv` stem, as in the ViTs of
    Singh et al. 2023."""
    stem_norm: Literal["ln", "bn", "none"]
    """After each convolution of the stem but the 1x1; with `bn` the convolutions have no bias."""
    stem_act: Activation
    """After each 3x3 convolution of a `conv` stem; that of an XCiT ends without one."""

    def check_conv_stem(self, *, stride: int, width: int) -> None:
        """Raises ValueError if a `conv` stem of this stride cannot end with `width` channels."""
        if stride & (stride - 1):
            raise ValueError(
                f"stem=conv halves the image with each convolution, so patch_size must be a power "
                f"of 2, got {stride}; take stem=patch"
            )
        if 2**self.stem_convs < stride:
            raise ValueError(
                f"stem_convs ({self.stem_convs}) must be at least {stride.bit_length() - 1} to "
                f"reach the stem's stride of {stride}"
            )
        widths = self.stem_widths
        parts = 2 ** (self.stem_convs - 1)
        if widths == "doubling" and (width % parts or width // parts < 4):
            raise ValueError(
                f"stem_widths=doubling needs a width that 2^(stem_convs - 1) = {parts} divides, "
                f"with 4 or more as result, got {width}; list the widths"
            )
        if isinstance(widths, str):
            return
        if len(widths) != self.stem_convs:
            raise ValueError(
                f"stem_widths {list(widths)} must name as many widths as stem_convs "
                f"({self.stem_convs})"
            )
        if not self.stem_projection and widths[-1] != width:
            raise ValueError(
                f"stem_widths {list(widths)} must end with the width of the network ({width}), or "
                "stem_projection be true"
            )


def _check_stages(depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
    if len(depths) != len(widths) or not depths:
        raise ValueError(
            f"depths {list(depths)} and widths {list(widths)} must name the same number of "
            "stages, at least one"
        )


class ConvNeXtConfig(StemConfig):
    """A ConvNeXt (Liu et al. 2022, arXiv:2201.03545); isotropic with one stage."""

    family: Literal["convnext"]
    stem: Literal["patch", "conv"]
    """`patch`: one convolution with kernel = stride. `conv`: 3x3 convolutions, each with norm and
    activation (Singh et al. 2023, arXiv:2303.01870)."""
    stem_stride: Stride
    """Downsampling by the stem; 4 in the paper, 2 or 1 for small images."""
    depths: tuple[Depth, ...]
    """Blocks of each stage."""
    widths: tuple[Annotated[int, Field(ge=8, multiple_of=2)], ...]
    """Channels of each stage."""
    kernel_size: Literal[3, 5, 7, 9, 11, 13]
    """Of the depthwise convolutions; 7 in the paper."""
    act: Activation
    norm: Literal["ln", "bn"]
    """In the blocks and before downsampling; the head keeps LayerNorm."""
    squeeze_excitation: Fraction
    """Width of the gate behind each depthwise convolution as a share of the channels (Hu et al.
    2018, arXiv:1709.01507, 1/16); 0 leaves it out."""
    layer_scale: float = Field(ge=0)
    """Initial value of LayerScale; 1e-6 in the paper, 0 leaves it out."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "ConvNeXtConfig":
        _check_stages(self.depths, self.widths)
        if self.stem == "conv":
            self.check_conv_stem(stride=self.stem_stride, width=self.widths[0])
        return self


class ResNetConfig(StemConfig):
    """A ResNet (He et al. 2016, arXiv:1512.03385), also wide or with another activation."""

    family: Literal["resnet"]
    stem: Literal["pool", "patch", "conv"]
    """`pool`: the paper's, a 7x7 convolution of stride 2 and max pooling; at lower strides without
    pooling, 3x3 and of stride `stem_stride`. The others as for ConvNeXt."""
    stem_stride: Literal[1, 2, 4]
    """Downsampling by the stem; 4 in the paper, 1 for CIFAR."""
    block: Literal["basic", "bottleneck"]
    depths: tuple[Depth, ...]
    """Blocks of each stage."""
    widths: tuple[Annotated[int, Field(ge=8, multiple_of=2)], ...]
    """Channels of each stage, before the fourfold output of a bottleneck; the first is the
    stem's."""
    bottleneck_ratio: float = Field(ge=0.125, le=8)
    """Width inside a block over the stage's; 2 in WideResNet-50-2. Basic blocks need 1."""
    act: Activation
    norm: Literal["bn", "ln"]
    squeeze_excitation: Fraction
    """Width of the gate at the end of each block as a share of its output channels; 0 leaves it
    out."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "ResNetConfig":
        _check_stages(self.depths, self.widths)
        if self.stem == "conv":
            self.check_conv_stem(stride=self.stem_stride, width=self.widths[0])
        if self.block == "basic" and self.bottleneck_ratio != 1:
            raise ValueError(
                f"bottleneck_ratio must be 1 with block=basic, got {self.bottleneck_ratio:g}"
            )
        return self


class ViTConfig(StemConfig):
    """A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929; DeiT, arXiv:2012.12877)."""

    family: Literal["vit"]
    stem: Literal["patch", "conv"]
    """`patch`: one convolution with kernel = stride. `conv`: 3x3 convolutions, each with norm and
    activation (Singh et al. 2023, arXiv:2303.01870)."""
    patch_size: int = Field(ge=1, le=64)
    """Side of the pixels behind a token; the stride of the stem. 16 in the papers."""
    depth: Depth
    width: int = Field(ge=8)
    """Of a token."""
    heads: int = Field(ge=1)
    mlp_ratio: float = Field(gt=0)
    """Hidden width of the MLPs over `width`; 4 in the papers."""
    act: Activation
    norm: Literal["ln", "rms"]
    class_token: Literal["none", "positioned", "unpositioned"]
    """`positioned`: has a position embedding of its own, as in ViT and DeiT; `unpositioned`: none,
    as in DeiT III; `none`: the mean of all tokens is classified."""
    layer_scale: float = Field(ge=0)
    """Initial value of LayerScale; 0 leaves it out."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "ViTConfig":
        _check_heads(self.width, self.heads)
        if self.stem == "conv":
            self.check_conv_stem(stride=self.patch_size, width=self.width)
        return self


class XCiTConfig(StemConfig):
    """A cross-covariance transformer (El-Nouby et al. 2021, arXiv:2106.09681)."""

    family: Literal["xcit"]
    stem: Literal["patch", "conv"]
    """`conv`: 3x3 convolutions, the paper's with batch norm and four at patch size 16. `patch`: one
    convolution with kernel = stride."""
    patch_size: int = Field(ge=1, le=64)
    """Side of the pixels behind a token; the stride of the stem. 16 or 8 in the paper."""
    depth: Depth
    """Cross-covariance blocks."""
    class_depth: int = Field(ge=1)
    """Class-attention blocks after them; 2 in the paper."""
    width: int = Field(ge=8, multiple_of=2)
    """Of a token."""
    heads: int = Field(ge=1)
    mlp_ratio: float = Field(gt=0)
    """Hidden width of the MLPs over `width`; 4 in the paper."""
    act: Activation
    norm: Literal["ln", "rms"]
    tokens_norm: bool
    """Whether class attention normalises all tokens or the class token alone (N12)."""
    layer_scale: float = Field(gt=0)
    """Initial value of LayerScale; 1 at 12 blocks, 1e-5 at 24."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "XCiTConfig":
        _check_heads(self.width, self.heads)
        if self.stem == "conv":
            self.check_conv_stem(stride=self.patch_size, width=self.width)
        return self


class TimmConfig(FamilyConfig):
    """Any model of the timm library."""

    family: Literal["timm"]
    name: str
    """Name in timm's registry, such as `resnet18` or `swin_tiny_patch4_window7_224`; ours add
    `cait_s12_224` and `poolformer_m12`."""
    stem: Literal["own", "conv"]
    """`own`: the model's. `conv`: 3x3 convolutions with LayerNorm and GELU in place of its first,
    patch-wise convolution."""


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"width ({width}) must be divisible by heads ({heads})")


AnyModelConfig = ConvNeXtConfig | ResNetConfig | ViTConfig | XCiTConfig | TimmConfig
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="family")]
FAMILIES: dict[str, type[AnyModelConfig]] = {
    get_args(kind.model_fields["family"].annotation)[0]: kind for kind in get_args(AnyModelConfig)
}


def _owners(name: str) -> list[str]:
    return [family for family, kind in FAMILIES.items() if name in kind.model_fields]
