"""What the fields of a second source of images refuse."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from stored_factory import stored_trial

BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "a path without a source": (
        {"source": "none", "path": "x", "share": 0},
        "source=none needs path='' and share=0, got path='x' and share=0; name the source",
    ),
    "a share without a source": (
        {"source": "none", "path": "", "share": 0.5},
        "needs path='' and share=0, got path='' and share=0.5",
    ),
    "a source without a path": (
        {"source": "packed", "path": "", "share": 0.5},
        "source=packed needs the extra images in path, got ''",
    ),
    "nothing but extra images": (
        {"source": "folder", "path": "x", "share": 1},
        "less than 1",
    ),
    "the train images": (
        {"source": "folder", "path": "/real", "share": 0.5},
        "extra.path must be another place than path, got /real for both: images that are held out",
    ),
    "the test images": (
        {"source": "folder", "path": "/nowhere/", "share": 0.5},
        "extra.path must be another place than test_path, got /nowhere for both",
    ),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_fields_that_contradict_are_refused(name: str) -> None:
    extra, message = BAD_FIELDS[name]

    with pytest.raises(ValidationError, match=message):
        stored_trial(Path("/real"), data={"extra": extra})
