"""What holds for all tests."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_ray_in_this_process() -> Iterator[None]:
    """Ray sets variables that every process started later inherits; its tests use processes."""
    before = {name for name in os.environ if name.startswith("RAY_AUTH")}
    yield
    after = {name for name in os.environ if name.startswith("RAY_AUTH")}
    assert after == before, "this test started Ray in the process of the tests"
