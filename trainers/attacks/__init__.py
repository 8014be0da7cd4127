"""Attacks as pure functions: model of [0, 1] images -> logits in, images inside the threat out."""
