"""Files of weights: what is chosen in them, and what is refused without being run."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from models.layouts import read_state


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_the_average_is_scored_where_the_file_has_one(key: str, tmp_path: Path) -> None:
    raw, averaged = ({"w": torch.tensor([value])} for value in (1.0, 2.0))
    path = saved(tmp_path / "a.pt", {"state_dict": raw, key: {"module.w": averaged["w"]}})

    assert read_state(path, weights="scored")["w"] == 2
    assert read_state(path, weights="raw")["w"] == 1


@pytest.mark.parametrize("content", [{"state_dict": {"w": 1.0}, "ema": None}, {"w": 1.0}])
def test_without_an_average_the_raw_weights_are_scored(
    content: dict[str, Any], tmp_path: Path
) -> None:
    tensors = {
        key: {k: torch.tensor(v) for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in content.items()
    }
    tensors = {k: torch.tensor(v) if isinstance(v, float) else v for k, v in tensors.items()}
    path = saved(tmp_path / "a.pt", tensors)

    assert read_state(path, weights="scored")["w"] == 1
    assert read_state(path, weights="raw")["w"] == 1


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    safetensors.torch.save_file({"model.w": torch.tensor([3.0])}, path)

    assert read_state(path, weights="scored") == {"w": torch.tensor([3.0])}


class Touch:
    """A pickle of this creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_pickle_that_would_run_code_is_refused_unrun(
    name: str, is_plain: bool, tmp_path: Path
) -> None:
    touched, path = tmp_path / "touched", tmp_path / name
    content = {"state_dict": {"w": torch.zeros(1)}, "args": Touch(touched)}
    if is_plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)

    with pytest.raises(ValueError, match=r"must hold tensors only, .* would run code when read"):
        read_state(path, weights="scored")

    assert not touched.exists()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a file, found none at .*absent.pt; check"):
        read_state(tmp_path / "absent.pt", weights="scored")
    with pytest.raises(ValueError, match="must be a file, found none"):
        read_state(tmp_path, weights="scored")


def whole_files() -> dict[str, bytes]:
    state = {"layer.weight": torch.zeros(4, 4), "layer.bias": torch.zeros(4)}
    buffer, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state}, buffer)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    return {
        "zip": buffer.getvalue(),
        "legacy": legacy.getvalue(),
        "safetensors": safetensors.torch.save(state),
    }


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_that_is_cut_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    data = whole_files()[kind]
    path = tmp_path / "weights"
    for end in [*range(12), *range(12, len(data) - 1, 37)]:
        path.write_bytes(data[:end])

        with pytest.raises(ValueError, match=r"weights must (be|hold) .*damaged"):
            read_state(path, weights="scored")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_scrambled_file_is_read_or_refused_and_nothing_else(kind: str, tmp_path: Path) -> None:
    data = whole_files()[kind]
    path = tmp_path / "weights"
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        at, value = (int(torch.randint(n, (), generator=generator)) for n in (len(data), 256))
        path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
        try:
            state = read_state(path, weights="scored")
        except ValueError as error:
            assert "weights must" in str(error)  # noqa: PT017
        else:
            assert all(isinstance(tensor, Tensor) for tensor in state.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "must hold weights by name, got a list; save a state_dict"),
        ({}, r"must hold scored weights by name, found none; its entries are \[\]"),
        ({"epoch": 3, "lr": 0.1}, r"found none; its entries are \['epoch', 'lr'\]"),
        ({"state_dict": {}}, "found none"),
        ({"state_dict": {"mean": torch.zeros(3)}}, "found none"),
    ],
)
def test_a_file_without_weights_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_state(saved(tmp_path / "a.pt", content), weights="scored")


def test_raw_weights_are_not_taken_from_the_average(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"model_ema": {"w": torch.zeros(1)}})

    with pytest.raises(ValueError, match=r"must hold raw weights .* take the scored ones"):
        read_state(path, weights="raw")
