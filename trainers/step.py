"""One training step: attack, loss, update, average. Here is where a trial's time is spent."""

from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from trainers.compute import compiling, in_format, set_checkpointing, share_buffers
from trainers.losses import mart_loss, trades_loss, training_loss
from trainers.optim import set_lr
from trainers.session import Session


def train_step(
    session: Session,
    x: Float[Tensor, "batch 3 h w"],
    targets: Float[Tensor, "batch classes"],
    *,
    lr: float,
    radius: float,
    steps: int,
    turn: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Attacks this rank's share of a batch and takes one step on it; waits for no device.

    Args:
        radius, steps, turn: As the `Adversary` takes them.
        generator: Source of the attack's random numbers, on the device of `x`.

    Returns:
        The mean loss, and the number of the images trained on, attacked or not, that the model got
        right (a mean where each image is attacked in several ways).
    """
    x = in_format(x, session.config.compute)
    if session.group.size > 1:
        share_buffers(session.model)
    x_adv = session.adversary(
        x, targets, radius=radius, steps=steps, turn=turn, generator=generator
    )
    set_lr(session.optimizer, lr)
    loss, hits = _backward(session, x, x_adv, targets)
    if clip_norm := session.config.optim.clip_norm:
        torch.nn.utils.clip_grad_norm_(session.parameters, clip_norm, foreach=True)
    session.optimizer.step()
    if session.ema is not None:
        session.ema.update()
    return loss, hits


def _backward(session: Session, x: Tensor, x_adv: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Leaves the gradient of the mean loss over all ranks in the parameters, part by part."""
    compute, copies, parts = session.config.compute, len(x_adv) // len(x), session.parts
    attacked = [batch.tensor_split(parts) for batch in x_adv.chunk(copies)]
    losses: list[Tensor] = []
    hits: list[Tensor] = []
    session.optimizer.zero_grad(set_to_none=True)
    if compute.checkpointing:
        set_checkpointing(session.model, True)
    clean, goals = x.tensor_split(parts), targets.tensor_split(parts)
    for part, (x_part, goal) in enumerate(zip(clean, goals, strict=True)):
        with ExitStack() as stack:
            stack.enter_context(compiling(compute.compile))
            if part < parts - 1 and isinstance(session.trained, DistributedDataParallel):
                stack.enter_context(session.trained.no_sync())
            batch = torch.cat([of_threat[part] for of_threat in attacked])
            loss, right = _loss(session, x_part, batch, goal.repeat(copies, 1))
            (loss * _weight(session, len(x_part), of=len(x))).backward()
        losses.append(loss.detach() * (len(x_part) / len(x)))
        hits.append(right / copies)
    if compute.checkpointing:
        set_checkpointing(session.model, False)  # the attack has memory to spare
    return torch.stack(losses).sum(), torch.stack(hits).sum()


def _weight(session: Session, images: int, *, of: int) -> float:
    """Returns what the mean loss of `images` weighs before DDP takes the mean over the ranks, whose
    shares may differ by a pair."""
    if session.group.size == 1:
        return images / of
    return images * session.group.size / session.config.batch_size


def _loss(session: Session, x: Tensor, x_adv: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the objective, and how many attacked images are right."""
    objective = session.config.objective
    if objective.name == "at":
        adversarial = session.trained(x_adv)  # (many, classes)
        loss = training_loss(adversarial, targets)
    else:
        # One pass for both, so that DDP sees one forward and batch norm one batch.
        clean, adversarial = _halves(session, x, x_adv)
        if objective.name == "trades":
            loss = trades_loss(clean, adversarial, targets, beta=objective.beta)
        else:
            y = targets.argmax(dim=1)
            loss = mart_loss(clean, adversarial, y, beta=objective.beta)
    right = (adversarial.detach().argmax(dim=1) == targets.argmax(dim=1)).sum()
    return loss, right


def _halves(session: Session, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the logits of the clean images, repeated for each copy, and of the attacked ones."""
    logits = session.trained(torch.cat([x, x_adv]))
    clean, adversarial = logits[: len(x)], logits[len(x) :]
    return clean.repeat(len(x_adv) // len(x), 1), adversarial
