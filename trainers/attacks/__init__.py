"""Attacks as pure functions: model of [0, 1] images -> logits in, `x_adv` inside ball and box out."""
