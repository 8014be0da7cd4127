"""Analyses: what a checkpoint's robustness is made of, beyond one number. No pictures here."""
