"""Where the tested checkout keeps what its tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "search" / "configs"
DEMO = CONFIGS / "demo.yaml"
TRAIN = CONFIGS / "train.yaml"
