"""Where the code of Rampart lies: a checkout, or an installed copy."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder of our packages."""
ROOMS = ("models", "trainers", "evaluation", "search")
"""Our packages, in the order in which they may import one another."""
