"""Which trial runs next, how far and with which sample: pure decisions, which can be replayed."""
