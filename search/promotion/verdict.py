"""Which promoted recipe is better than noise: all compared on the same test images.

The most robust recipe leads. Where its gain over another is under 2 SE the two are tied, and among
the leader and all who are tied with it the cheapest wins; the default takes part like any other.

The standard error of a difference of two means over seeds and images combines both:

    SE^2 = SE_images^2 + var_seeds * (1 / seeds_a + 1 / seeds_b)

`SE_images` is that of the mean over images of the difference of the images' means over seeds. What
a seed changes at single images is a part of it, so `var_seeds` is the variance of accuracies among
seeds less that part: nothing counts twice. It is pooled over all recipes with more than one seed,
for two or three seeds alone say next to nothing; where there is none, the noise of training is left
out, and the verdict says so. Of two equal recipes with 2 or 3 seeds, simulations call 7 to 14 % of
gains resolved where seeds matter, and 12 to 57 % if their noise is left out; 4 % where they do not.

Source: seeds as readers nested in treatments, images as cases crossed with them, as in Gallas et
    al. 2007, J. Opt. Soc. Am. A 24:B70 (binary outcomes), in the method of moments. `SE_images`
    counts one more disagreement of either kind (Bonett and Price 2012, as `evaluation/paired.py`),
    so that few disagreements do not look certain.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evaluation.paired import Z95
from evaluation.result import EvaluationResult
from models.config import Config
from search.books.records import FullRun, Promoted
from search.live.trial_events import first_line
from search.promotion.card import why_incomparable
from trainers.metrics import wilson_interval

Flags = npt.NDArray[np.float64]
"""(seeds, images): 1 where the model of a seed is right under the attack."""
TIE_SE = 2.0
DEFAULT = "default"


SAME_COST = 0.05
"""Relative differences of training time up to this one are none."""


class Gap(Config):
    """How much more robust one recipe is than another, as a fraction, on the same images."""

    difference: float
    se: float

    @property
    def is_resolved(self) -> bool:
        """Whether it is at least 2 SE."""
        return abs(self.difference) >= TIE_SE * self.se


class Standing(Config):
    """One recipe: its full runs, what they reached and what they cost, as means over seeds."""

    recipe: str
    """Key of the trial, or `default`."""
    runs: tuple[str, ...]
    """Keys of the full runs."""
    seeds: tuple[int, ...]
    """Their training seeds."""
    epochs: int
    robust: float
    robust_interval: tuple[float, float]
    """95 %: Wilson's for one seed; else normal, from images and seeds."""
    clean: float
    clean_interval: tuple[float, float]
    train_seconds: float
    params_m: float
    behind: Gap | None
    """The leader's robust accuracy minus this one's; None for the leader."""
    over_default: Gap | None
    """This one's robust accuracy minus the default's; None for the default, or without it."""


class Verdict(Config):
    """What the full runs of a search say together."""

    attack: str
    n: int
    """Test images, the same for all."""
    split: str
    winner: str
    """A recipe of `standings`: the cheapest of those whom noise does not tell from the leader."""
    seed_sd: float | None
    """Standard deviation of the robust accuracy among training seeds, pooled over recipes; None
    where no recipe has two."""
    standings: tuple[Standing, ...]
    """The most robust first: the leader."""
    left_out: dict[str, str]
    """Key of a full run -> why it is not compared."""


def judge(promoted: Sequence[Promoted]) -> Verdict | None:
    """Compares all full runs that have a result; None where fewer than two recipes have one."""
    compared, left_out = _comparable(promoted)
    recipes: dict[str, list[tuple[FullRun, EvaluationResult]]] = {}
    for run, result in compared:
        recipes.setdefault(run.recipe, []).append((run, result))
    if len(recipes) < 2:
        return None
    flags = {name: _flags(pairs) for name, pairs in recipes.items()}
    variance = seed_variance(list(flags.values()))
    leader = min(recipes, key=lambda name: (-flags[name].mean(), *_cost(recipes[name]), name))
    standings = [
        _standing(pairs, flags, leader=leader, variance=variance or 0.0)
        for pairs in recipes.values()
    ]
    standings.sort(key=lambda one: (one.recipe != leader, -one.robust, one.recipe))
    result = compared[0][1]
    return Verdict(
        attack=result.attack,
        n=len(result.is_robust),
        split=result.split,
        winner=_winner(standings),
        seed_sd=None if variance is None else math.sqrt(variance),
        standings=tuple(standings),
        left_out=left_out,
    )


def compare_means(a: Flags, b: Flags, *, seed_variance: float) -> Gap:
    """Returns the mean of `a` minus that of `b` on the same images, in their order."""
    of_images = np.append(a.mean(axis=0) - b.mean(axis=0), [1.0, -1.0])
    images = float(of_images.var()) / len(of_images)
    seeds = seed_variance * (1 / len(a) + 1 / len(b))
    return Gap(difference=float(a.mean() - b.mean()), se=math.sqrt(images + seeds))


def seed_variance(recipes: Sequence[Flags]) -> float | None:
    """Returns the variance of accuracies among seeds that the images do not explain, pooled.

    At least 0, where its estimate is less; None where no recipe has two seeds, or there is but one
    image.
    """
    repeated = [flags for flags in recipes if min(flags.shape) > 1]
    degrees = sum(len(flags) - 1 for flags in repeated)
    if not degrees:
        return None
    return max(0.0, sum((len(one) - 1) * _seed_component(one) for one in repeated) / degrees)


def verdict_lines(verdict: Verdict) -> list[str]:
    """Returns the verdict as sentences: who wins over whom, by how much, and what SE holds."""
    by_name = {one.recipe: one for one in verdict.standings}
    winner, leader = by_name[verdict.winner], verdict.standings[0]
    lines = [f"Verdict: {_standing_text(winner, verdict)} wins."]
    if winner.behind:
        lines.append(
            f"{_standing_text(leader, verdict)} is more robust by {_gap_text(winner.behind)}: a "
            f"tie, and the cheapest wins ({_cost_text(winner)} against {_cost_text(leader)})."
        )
    lines += [
        f"{one.recipe} against the default: {_gap_text(one.over_default)}, "
        f"{'at least' if one.over_default.is_resolved else 'a tie, under'} 2 SE."
        for one in verdict.standings
        if one.over_default
    ]
    lines += [f"{key} is not compared: {why}." for key, why in verdict.left_out.items()]
    return [*lines, _noise_text(verdict)]


def _comparable(
    promoted: Sequence[Promoted],
) -> tuple[list[tuple[FullRun, EvaluationResult]], dict[str, str]]:
    """Returns what was evaluated like the default, or else like the first, and why not the rest."""
    evaluated = [(run, result) for run, result in promoted if result is not None]
    like_these = [pair for pair in evaluated if pair[0].recipe == DEFAULT] + evaluated
    left_out = {
        run.key: first_line(run.reason) or "it has no result yet"
        for run, result in promoted
        if result is None
    }
    compared: list[tuple[FullRun, EvaluationResult]] = []
    first: dict[str, FullRun] = {}
    for run, result in evaluated:
        like = first.setdefault(run.recipe, run)
        reference_run, reference = like_these[0]
        if reason := why_incomparable(result, reference):
            left_out[run.key] = reason
        elif run.config.model_copy(update={"seed": like.config.seed}) != like.config:
            left_out[run.key] = f"its config differs from that of {like.key} in more than the seed"
        elif run.config.epochs != reference_run.config.epochs:
            left_out[run.key] = (
                f"it trained {run.config.epochs} epochs, {reference_run.key} "
                f"{reference_run.config.epochs}"
            )
        else:
            compared.append((run, result))
    return compared, left_out


def _flags(pairs: Sequence[tuple[FullRun, EvaluationResult]]) -> Flags:
    return np.array([result.is_robust for _, result in pairs], dtype=np.float64)


def _seed_component(flags: Flags) -> float:
    """Returns the variance among the means of seeds, less what a seed changes at single images."""
    seeds, images = flags.shape
    of_seeds, of_images = flags.mean(axis=1), flags.mean(axis=0)
    rest = flags - of_seeds[:, None] - of_images + flags.mean()
    at_images = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    return float(of_seeds.var(ddof=1)) - at_images / images


def _standing(
    pairs: Sequence[tuple[FullRun, EvaluationResult]],
    flags: Mapping[str, Flags],
    *,
    leader: str,
    variance: float,
) -> Standing:
    run = pairs[0][0]
    name, mine = run.recipe, flags[run.recipe]
    clean = np.array([result.is_clean_correct for _, result in pairs], dtype=np.float64)
    seconds, params_m = _cost(pairs)
    is_compared = DEFAULT in flags and name != DEFAULT
    return Standing(
        recipe=name,
        runs=tuple(run.key for run, _ in pairs),
        seeds=tuple(run.config.seed for run, _ in pairs),
        epochs=run.config.epochs,
        robust=float(mine.mean()),
        robust_interval=_interval(mine, variance),
        clean=float(clean.mean()),
        clean_interval=_interval(clean, max(0.0, seed_variance([clean]) or 0.0)),
        train_seconds=seconds,
        params_m=params_m,
        behind=None
        if name == leader
        else compare_means(flags[leader], mine, seed_variance=variance),
        over_default=compare_means(mine, flags[DEFAULT], seed_variance=variance)
        if is_compared
        else None,
    )


def _interval(flags: Flags, variance: float) -> tuple[float, float]:
    """Returns the 95 % interval of an accuracy that is the mean over seeds and images.

    Args:
        variance: Among seeds.
    """
    seeds, images = flags.shape
    if seeds == 1:
        return wilson_interval(int(flags.sum()), images)
    error = math.sqrt(float(flags.mean(axis=0).var()) / images + variance / seeds)
    mean = float(flags.mean())
    return max(0.0, mean - Z95 * error), min(1.0, mean + Z95 * error)


def _cost(pairs: Sequence[tuple[FullRun, EvaluationResult]]) -> tuple[float, float]:
    """Returns seconds of training and millions of parameters, as means over seeds."""
    known = [run.progress for run, _ in pairs if run.progress]
    count = len(known) or 1
    return sum(p.train_seconds for p in known) / count, sum(p.params_m for p in known) / count


def _winner(standings: Sequence[Standing]) -> str:
    tied = [one for one in standings if one.behind is None or not one.behind.is_resolved]
    least = min(one.train_seconds for one in tied)
    # Seconds of equal work differ by as much: the machine's noise must not decide.
    cheap = [one for one in tied if one.train_seconds <= least * (1 + SAME_COST)]
    return min(cheap, key=lambda one: (one.params_m, -one.robust)).recipe


def _standing_text(one: Standing, verdict: Verdict) -> str:
    seeds = f"training seed{'s' if len(one.seeds) > 1 else ''} {', '.join(map(str, one.seeds))}"
    return (
        f"{one.recipe} (robust {_text(one.robust, one.robust_interval)}, {verdict.attack}, clean "
        f"{_text(one.clean, one.clean_interval)}, n={verdict.n}, {one.epochs} epochs, {seeds})"
    )


def _text(accuracy: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _gap_text(gap: Gap) -> str:
    return f"{100 * gap.difference:+.1f} points (SE {100 * gap.se:.1f})"


def _cost_text(one: Standing) -> str:
    return f"{one.train_seconds:.0f} s of training, {one.params_m:.3g} M parameters"


def _noise_text(verdict: Verdict) -> str:
    images = f"the choice of the {verdict.n} images of the {verdict.split} split"
    if verdict.seed_sd is None:
        return (
            f"SE holds {images}, not the noise of training: each recipe has one seed "
            "(promotion.seeds)."
        )
    counts = sorted({len(one.seeds) for one in verdict.standings})
    return (
        f"SE holds {images} and the noise of training (SD {100 * verdict.seed_sd:.1f} points "
        f"among {' or '.join(map(str, counts))} seeds, pooled over recipes)."
    )
