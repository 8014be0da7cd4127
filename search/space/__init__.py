"""The space of a search: axes, branches, conditions, constraints; what a sample of it becomes."""
