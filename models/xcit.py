"""Cross-covariance transformers (El-Nouby et al. 2021, arXiv:2106.09681).

timm's own class, with our stems in place of its patch embedding, which takes patches of 16 and 8
only. Parameter names are timm's: each convolution of the stem and its norm form a pair, as in
`patch_embed.proj.0.0` and `patch_embed.proj.0.1`, with the activations between the pairs.
"""

from jaxtyping import Float
from timm.models.xcit import Xcit
from torch import Tensor, nn

from models.config import XCiTConfig
from models.parts import ACTIVATIONS, TOKEN_NORMS
from models.stems import conv_stem, patch_stem

PUBLISHED_STRIDE = 16


class Tokens(nn.Module):
    """A stem whose pixels become tokens, as timm's Xcit asks of its patch embedding."""

    def __init__(self, proj: nn.Module) -> None:
        super().__init__()
        self.proj = proj

    def forward(
        self, x: Float[Tensor, "batch 3 h w"]
    ) -> tuple[Float[Tensor, "batch tokens width"], tuple[int, int]]:
        """Returns the tokens, row by row, and the numbers of rows and columns."""
        x = self.proj(x)  # (batch, width, rows, columns)
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])


def build_xcit(config: XCiTConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds the network without normalisation; weights as timm's (truncated normal, 0.02).

    Raises:
        ValueError: If the images are no multiple of the patch.
    """
    if resolution % config.patch_size:
        raise ValueError(
            f"an XCiT needs a resolution that is a multiple of patch_size ({config.patch_size}), "
            f"got {resolution}; take another patch_size or resolution"
        )
    network = Xcit(
        # Both matter only to the patch embedding that is replaced below.
        img_size=16,
        patch_size=16,
        num_classes=num_classes,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        drop_rate=config.head_dropout,
        drop_path_rate=config.drop_path,
        act_layer=ACTIVATIONS[config.act],
        norm_layer=TOKEN_NORMS[config.norm],  # pyright: ignore[reportArgumentType]
        cls_attn_layers=config.class_depth,
        eta=config.layer_scale,
        tokens_norm=config.tokens_norm,
    )
    network.patch_embed = Tokens(_stem(config))  # pyright: ignore[reportAttributeAccessIssue]
    return network


def _stem(config: XCiTConfig) -> nn.Sequential:
    if config.stem == "patch":
        return nn.Sequential(patch_stem(config, config.width, stride=config.patch_size))
    flat = conv_stem(
        config,
        config.width,
        stride=config.patch_size,
        published_stride=PUBLISHED_STRIDE,
        last_act=config.stem_projection,
    )
    return _in_pairs(flat)


def _in_pairs(flat: nn.Sequential) -> nn.Sequential:
    """Returns convolution, norm, activation, ... as (convolution, norm), activation, ..."""
    layers = list(flat)
    nested: list[nn.Module] = []
    while layers:
        nested.append(nn.Sequential(*layers[:2]))  # a 1x1 at the end stays alone
        nested += layers[2:3]
        del layers[:3]
    return nn.Sequential(*nested)
