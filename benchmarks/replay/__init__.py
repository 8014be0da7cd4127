"""Searches replayed on published tables and formulas: no training, so minutes instead of weeks."""
