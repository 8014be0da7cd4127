"""Square in lanes: random search over square windows, without any gradient.

A window is painted, the model is asked once, and what lowers the margin stays. In linf a window is
of one colour at the border of the ball. In l2 and l1 it gets a tile, a hill beside a hollow, and
the perturbation of a second window is spent on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int16
from torch import Tensor

from evaluation.engine.lanes import Item, Lanes, Logits
from evaluation.verify import margins_of
from trainers.attacks.iterate import per_image
from trainers.attacks.l1 import project_l1
from trainers.attacks.projection import l2_norms, project
from trainers.threat import ThreatModel

FIRST_SHARE = 0.8
"""Part of the image that the first windows cover: p_init."""
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Moves after which the share is halved."""
POWER = {"l2": 2, "l1": 1}
STEEPNESS = {"l2": 2, "l1": 4}
"""Exponent of the hills of a tile."""
L1_SHARE = 1 - 1e-6
"""Part of the radius that AutoAttack spends in l1."""
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Draws:
    """All that is random in one item."""

    start: Float[Tensor, "c h w"]
    """Direction of the first perturbation: stripes of +1 and -1, or tiles side by side."""
    moves: Int16[Tensor, "moves columns"]
    """Row and column of the window; but for linf those of the second window, and whether the tile
    is turned; then the sign of each channel."""


class SquareLanes(Lanes):
    """Square on the margin loss; a call of `advance` is one query, the first that of the start.

    An item takes `steps` + 1 queries. It draws the random numbers that AutoAttack's code would draw
    for its image alone, seeded alike. In AutoAttack the images of a batch share their windows, and
    in linf the signs too; here each has its own.

    Source: Andriushchenko et al. 2020, arXiv:1912.00049, and for l1 Croce and Hein 2021,
    arXiv:2103.01208, with the details of AutoAttack's code. It stops at a tie, margin 0, even if
    the label wins it; here the search goes on.
    """

    def __init__(
        self,
        logits: Logits,
        threat: ThreatModel,
        *,
        lanes: int,
        shape: torch.Size,
        device: torch.device,
    ) -> None:
        """`shape` is that of an image, (c, h, w)."""
        super().__init__(logits, threat, lanes=lanes, shape=shape, device=device)
        sizes = window_sizes(shape, threat)
        self._sizes = torch.tensor(sizes, device=device)
        self._halved_after = torch.tensor(HALVED_AFTER, device=device)
        if threat.norm != "linf":
            self._tiles = _tile_table(sizes, threat.norm).to(device)
        columns = _columns(shape, threat)
        self._moves = torch.zeros(lanes, 0, columns, dtype=torch.int16, device=device)
        self._lane = torch.arange(lanes, device=device)
        self._best = torch.zeros_like(self.x)
        self._margin = torch.zeros(lanes, device=device)
        self._queries = torch.zeros_like(self.y)
        self._steps = torch.zeros_like(self.y)

    def _begin(self, rows: Tensor, items: Sequence[Item]) -> None:
        steps = [item.stage.attack.steps for item in items]
        draws = [
            draw(self.x.shape[1:], self.threat, moves=count, seed=item.seed)
            for count, item in zip(steps, items, strict=True)
        ]
        start = torch.stack([one.start for one in draws]).to(rows.device)
        self._best[rows] = _first_iterate(self.x[rows], start, self.threat)
        length = max(self._moves.shape[1], *steps)
        moves = torch.stack([_lengthen(one.moves, length) for one in draws])
        self._moves = _lengthen(self._moves, length)
        self._moves[rows] = moves.to(rows.device)
        self._margin[rows] = torch.inf
        self._queries[rows] = 0
        self._steps[rows] = torch.tensor(steps, device=rows.device)

    @torch.no_grad()
    def advance(self) -> None:
        """Queries one proposal in each lane, and keeps it where it is better."""
        is_start = per_image(self._queries == 0)
        x_adv = torch.where(is_start, self._best, self._propose())
        logits = self.logits(x_adv)  # (lanes, classes)
        is_wrong = logits.argmax(dim=1) != self.y
        self._claim(x_adv, is_wrong & ~self.is_finished, self._queries)
        margin = margins_of(logits, self.y)
        is_better = (margin < self._margin) | (margin <= 0)
        self._best = torch.where(per_image(is_better), x_adv, self._best)
        self._margin = torch.where(is_better, margin, self._margin)
        self.is_finished = self._queries >= self._steps
        self._queries = self._queries + 1

    def _propose(self) -> Tensor:
        at = (self._queries - 1).clamp(0, self._moves.shape[1] - 1)
        move = self._moves[self._lane, at].long()  # (lanes, columns)
        level = torch.bucketize(at, self._halved_after)
        size = self._sizes[level]
        signs = move[:, -self.x.shape[1] :, None, None].float()  # (lanes, c, 1, 1)
        window = self._window(move[:, 0], move[:, 1], size)
        if self.threat.norm == "linf":
            painted = torch.addcmul(self._best, window, 2 * self.threat.eps * signs)
            return project(painted, self.x, self.threat)
        payer = self._window(move[:, 2], move[:, 3], size)
        tile = signs * self._place(2 * level + move[:, 4], move[:, 0], move[:, 1])
        delta = _repaint(self._best - self.x, tile, window, payer, self.threat)
        return _spend(self.x, delta, self.threat)

    def _window(self, row: Tensor, column: Tensor, size: Tensor) -> Tensor:
        """Returns 1 in the windows and 0 outside, (lanes, 1, h, w)."""
        h, w = self.x.shape[2:]
        rows, columns = (
            ((at >= 0) & (at < size.unsqueeze(1))).float()
            for at in (_distance(row, h), _distance(column, w))
        )
        return rows[:, None, :, None] * columns[:, None, None, :]

    def _place(self, kind: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Returns the tiles at their places, with zeros around them, (lanes, 1, h, w)."""
        h, w = self.x.shape[2:]
        zeros = self._tiles.shape[1] - 1
        rows, columns = (
            torch.where(at < 0, zeros, at.clamp_max(zeros))
            for at in (_distance(row, h), _distance(column, w))
        )
        placed = self._tiles[kind[:, None, None], rows[:, :, None], columns[:, None, :]]
        return placed.unsqueeze(1)


def window_sizes(shape: torch.Size, threat: ThreatModel) -> list[int]:
    """Returns the side of the windows after each number of halvings, from 0."""
    _, h, w = shape
    shares = [FIRST_SHARE / 2**level for level in range(len(HALVED_AFTER) + 1)]
    sides = [round(math.sqrt(share * h * w)) for share in shares]
    if threat.norm == "linf":
        return [min(max(side, 1), h, w) for side in sides]
    return [min(max(side, 3) | 1, h, w) for side in sides]  # odd


def draw(shape: torch.Size, threat: ThreatModel, *, moves: int, seed: int) -> Draws:
    """Draws the random numbers of one item, on the CPU, in the order of AutoAttack's code."""
    c, h, w = shape
    generator = torch.Generator().manual_seed(seed)
    if threat.norm == "linf":
        start = _signs(torch.rand(c, 1, w, generator=generator)).expand(c, h, w)
    else:
        start = _tiled(torch.rand(_tile_count(shape), 1 + c, generator=generator), shape, threat)
    uniform = torch.rand(moves, _columns(shape, threat), generator=generator)
    levels = torch.bucketize(torch.arange(moves), torch.tensor(HALVED_AFTER))
    sizes = torch.tensor(window_sizes(shape, threat))[levels]
    corners = 2 if threat.norm == "linf" else 4
    room = (torch.tensor((h, w)).repeat(corners // 2) - sizes.unsqueeze(1)).float()
    is_turned = uniform[:, corners:-c] > 0.5
    columns = ((uniform[:, :corners] * room).long(), is_turned, _signs(uniform[:, -c:]))
    return Draws(start=start, moves=torch.cat([part.to(torch.int16) for part in columns], dim=1))


def hill_and_hollow(size: int, norm: str) -> Float[Tensor, "size size"]:
    """Returns a hill above a hollow, of unit length: eta of the paper."""
    hill, hollow = _hill(size // 2, size, norm), _hill(size - size // 2, size, norm)
    both = torch.cat((hill, -hollow))
    return (both / torch.linalg.vector_norm(both, ord=POWER[norm])).float()


def _hill(height: int, width: int, norm: str) -> Tensor:
    """Adds 1 / k^p to all pixels closer than k to the middle, for each k; of unit length."""
    down, right = (torch.arange(extent) - extent // 2 for extent in (height, width))
    away = torch.maximum(down.abs()[:, None], right.abs()[None, :])  # (height, width)
    k = torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64)
    heights = (k ** -STEEPNESS[norm]).flip(0).cumsum(0).flip(0)
    hill = heights[away]
    return hill / torch.linalg.vector_norm(hill, ord=POWER[norm])


def _tile_table(sizes: Sequence[int], norm: str) -> Tensor:
    """Returns the tiles of all sizes, upright and turned, (2 x sizes, side, side).

    The side is one more than the largest tile's: the last row and column are zero.
    """
    table = torch.zeros(2 * len(sizes), max(sizes) + 1, max(sizes) + 1)
    for level, size in enumerate(sizes):
        upright = hill_and_hollow(size, norm)
        table[2 * level, :size, :size] = upright
        table[2 * level + 1, :size, :size] = upright.T
    return table


def _tile_count(shape: torch.Size) -> int:
    side = max(shape[1] // 5, 1)
    return (shape[1] // side) * (shape[2] // side)


def _tiled(uniform: Tensor, shape: torch.Size, threat: ThreatModel) -> Tensor:
    """Returns tiles a fifth of the image high, side by side and cut where they leave it."""
    c, h, w = shape
    side, border = max(h // 5, 1), h % 5 // 2
    upright = hill_and_hollow(side, threat.norm)
    turned = torch.stack((upright, upright.T))[(uniform[:, 0] > 0.5).long()]  # (tiles, side, side)
    tiles = turned.unsqueeze(1) * _signs(uniform[:, 1:])[:, :, None, None]
    grid = tiles.view(h // side, w // side, c, side, side).permute(2, 0, 3, 1, 4)
    pattern = grid.reshape(c, h // side * side, w // side * side)
    missing = (w - border - pattern.shape[2], h - border - pattern.shape[1])  # negative: is cut
    return F.pad(pattern, (border, missing[0], border, missing[1]))


def _first_iterate(x: Tensor, start: Tensor, threat: ThreatModel) -> Tensor:
    if threat.norm == "linf":
        return (x + threat.eps * start).clamp(0, 1)
    return _spend(x, start, threat)


def _spend(x: Tensor, delta: Tensor, threat: ThreatModel) -> Tensor:
    """Returns images that use the radius up, but for what the box takes."""
    if threat.norm == "l1":
        return project_l1(x + delta, x, L1_SHARE * threat.eps)
    return (x + delta * (threat.eps / (l2_norms(delta) + TINY))).clamp(0, 1)


def _repaint(
    delta: Tensor, tile: Tensor, window: Tensor, payer: Tensor, threat: ThreatModel
) -> Tensor:
    """Adds `tile` to the shape of `delta` in `window`, and empties `payer`.

    The window then has the length of both together and of what the image had to spare.
    """
    power, channels = POWER[threat.norm], delta.shape[1]
    either = torch.maximum(window, payer)
    inside = delta * window
    painted = tile + inside / (_lengths(inside, power) + TINY)
    length = torch.linalg.vector_norm(delta, ord=power, dim=(1, 2, 3), keepdim=True)
    spare = (threat.eps**power - length**power).clamp_min(0) / channels
    paid = _lengths(delta * either, power) ** power
    target = (spare + paid).sqrt() if power == 2 else (spare + paid) * channels
    return delta * (1 - either) + painted * (target / (_lengths(painted, power) + TINY))


def _lengths(delta: Tensor, power: int) -> Tensor:
    """Returns the length of each channel, (lanes, c, 1, 1)."""
    return torch.linalg.vector_norm(delta, ord=power, dim=(2, 3), keepdim=True)


def _distance(start: Tensor, extent: int) -> Tensor:
    """Returns how far each pixel of an axis is beyond `start`, (lanes, extent)."""
    return torch.arange(extent, device=start.device) - start.unsqueeze(1)


def _signs(uniform: Tensor) -> Tensor:
    return (2 * uniform - 1).sign()


def _columns(shape: torch.Size, threat: ThreatModel) -> int:
    return shape[0] + (2 if threat.norm == "linf" else 5)


def _lengthen(moves: Tensor, length: int) -> Tensor:
    """Appends moves that nobody makes."""
    return F.pad(moves, (0, 0, 0, length - moves.shape[-2]))
