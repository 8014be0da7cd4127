"""Evaluation: a model or checkpoint in; accuracies with attack, n and interval out."""
