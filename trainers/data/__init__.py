"""Data sources: images as uint8 in memory or on disk, split into train, select and test."""
