"""Trainers: a `TrialConfig` in, trained weights and one `EpochMetrics` per epoch out."""
