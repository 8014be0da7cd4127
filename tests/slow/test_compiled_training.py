"""A compiled trial takes the steps of an eager one, and schedules cannot end its compilation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

pytestmark = pytest.mark.slow


def test_compiled_steps_equal_eager_ones_and_compile_once() -> None:
    program = [sys.executable, str(Path(__file__).with_name("compiled_steps.py"))]

    said = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)

    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["eager"] == [0, 0, 0, 0]
    assert found["compiled"] == [2, 2, 2, 2]  # the attack as one graph, and the training pass
    assert found["furthest"] < 1e-4
    assert found["noise"] == 0
    assert found["ramp"] == list(range(1, 10))  # torch's own limit is 8
