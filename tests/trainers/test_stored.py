"""Images on disk as a trial sees them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from stored_factory import CLASSES, SIDE, photos, stored_trial, tensors, write_folder
from torchvision.transforms import CenterCrop, InterpolationMode, RandomResizedCrop, Resize
from trial_factory import CHECK

from trainers.checkpoint import TrainState
from trainers.config import TrialConfig
from trainers.data.config import StoredConfig
from trainers.data.images import Batch
from trainers.data.load import load_held_out, load_train, train_split
from trainers.data.open import open_source
from trainers.data.pack import pack
from trainers.data.stored import Stored, centre_crop, random_crop
from trainers.group import alone
from trainers.loop import fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), 4)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("large"), 4, suffix="jpg", side=64)


def split_of(config: TrialConfig) -> Stored:
    assert isinstance(config.data, StoredConfig)
    return train_split(config.data)


def as_packed(folder: Path, dest: Path) -> Path:
    source = open_source("folder", folder)
    pack(
        source,
        dest,
        max_side=384,
        quality=90,
        max_bad=0.0,
        workers=1,
        on_progress=lambda done, total: None,
    )
    return dest


def as_parquet(folder: Path, dest: Path) -> Path:
    classes = sorted(path.name for path in folder.iterdir())
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
    ]
    info = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
    table = pa.table(
        {
            "image": [
                {"bytes": file.read_bytes(), "path": f"{file.parent.name}/{file.name}"}
                for file, _ in files
            ],
            "label": [label for _, label in files],
        }
    ).replace_schema_metadata({"huggingface": json.dumps(info)})
    dest.mkdir()
    pq.write_table(table, dest / "train-00000-of-00001.parquet")
    return dest


def test_photos_and_their_folder_packed_and_parquet_forms_are_the_same_tensors(
    folder: Path, tmp_path: Path
) -> None:
    paths = {
        "folder": folder,
        "packed": as_packed(folder, tmp_path / "packed"),
        "parquet": as_parquet(folder, tmp_path / "parquet"),
    }
    original = photos(4)
    by_image = {
        (int(label), i // CLASSES): pixels
        for i, (pixels, label) in enumerate(zip(original.images, original.labels, strict=True))
    }

    for source, path in paths.items():
        config = stored_trial(path, data={"source": source})
        stored = split_of(config)
        pixels = tensors(load_train(config))
        ids = stored.source.ids_at(stored.index)
        assert len(ids) == 3 * CLASSES
        for name, mine, label in zip(ids, pixels, stored.labels.tolist(), strict=True):
            assert torch.equal(mine, by_image[label, int(Path(name).stem)]), (source, name)


def test_all_forms_have_one_hash(folder: Path, tmp_path: Path) -> None:
    packed = as_packed(folder, tmp_path / "packed")

    hashes = {
        load_train(stored_trial(path, data={"source": source})).hash
        for source, path in (("folder", folder), ("packed", packed))
    }

    assert len(hashes) == 1


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (33, 77), (20, 20), (16, 16), (500, 375)])
@pytest.mark.parametrize("share", [0.875, 1.0])
def test_a_centre_crop_is_torchvisions(size: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8))

    ours = centre_crop(image, side=16, share=share)

    resized = Resize(int(16 / share), InterpolationMode.BICUBIC)(image)
    theirs = torch.from_numpy(np.array(CenterCrop(16)(resized))).permute(2, 0, 1)
    assert torch.equal(ours, theirs)


def test_random_crops_are_distributed_as_torchvisions() -> None:
    # Of an image whose pixels say where they are, a crop's mean and range say where it was.
    width, height, n = 120, 90, 600
    x, y = np.meshgrid(np.arange(width) * 2, np.arange(height) * 2)
    image = Image.fromarray(np.stack([x, y, x * 0], axis=2).astype(np.uint8))

    def describe(pixels: torch.Tensor) -> torch.Tensor:
        flat = pixels[:2].double().flatten(1)
        return torch.cat([flat.mean(1), flat.amax(1) - flat.amin(1)])  # centre, extent

    rng = np.random.default_rng(0)
    ours = torch.stack(
        [describe(random_crop(image, side=16, scale=0.2, rng=rng)) for _ in range(n)]
    )
    torch.manual_seed(0)
    crop = RandomResizedCrop(16, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC)
    theirs = torch.stack(
        [describe(torch.from_numpy(np.array(crop(image))).permute(2, 0, 1)) for _ in range(n)]
    )

    error = (ours.var(0) + theirs.var(0)).div(n).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.15, atol=0)


def test_a_crop_depends_on_seed_epoch_and_image_alone(large: Path) -> None:
    config = stored_trial(large, augment={"crop_scale": 0.3})
    whole = tensors(load_train(config), epoch=2)

    images = load_train(config)
    batches = [Batch(index=torch.tensor([i, (i + 5) % 36]), side=SIDE) for i in (7, 3, 30)]
    for batch, (pixels, labels) in zip(batches, images.stream(batches, epoch=2), strict=True):
        assert torch.equal(pixels, whole[batch.index])
        assert torch.equal(labels, split_of(config).labels[batch.index])

    assert not torch.equal(tensors(images, epoch=3), whole)
    other = stored_trial(large, augment={"crop_scale": 0.3}, seed=6)
    assert not torch.equal(tensors(load_train(other), epoch=2), whole)


def test_images_come_at_the_size_that_the_schedule_asks_for(large: Path) -> None:
    images = load_train(stored_trial(large, augment={"crop_scale": 0.3}))
    batches = [Batch(index=torch.arange(2), side=side) for side in (8, 12, 16)]

    sides = [pixels.shape[-1] for pixels, _ in images.stream(batches, epoch=0)]

    assert sides == [8, 12, 16]


@pytest.mark.slow
def test_reading_processes_change_nothing(large: Path) -> None:
    here = load_train(stored_trial(large, augment={"crop_scale": 0.3}))
    ahead = load_train(stored_trial(large, augment={"crop_scale": 0.3}, compute={"loaders": 2}))
    state = torch.get_rng_state()

    for epoch in range(2):
        assert torch.equal(tensors(here, epoch=epoch), tensors(ahead, epoch=epoch))
    assert torch.equal(torch.get_rng_state(), state)


def damage(folder: Path, name: str) -> None:
    file = folder / name
    file.write_bytes(file.read_bytes()[:40])


def test_an_unreadable_image_is_replaced_by_one_of_its_class_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "photos", 6)
    config = stored_trial(folder, data={"max_bad": 0.05})
    whole = split_of(config)
    victim = whole.source.ids_at(whole.index)[0]
    before = tensors(load_train(config))
    damage(folder, victim)

    with caplog.at_level(logging.WARNING):
        images = load_train(config)
        after, again = tensors(images), tensors(images)

    (same_class,) = [i for i in range(1, len(images)) if torch.equal(after[0], before[i])][:1]
    assert whole.labels[same_class] == whole.labels[0]
    assert torch.equal(after, again)
    assert torch.equal(after[1:], before[1:])
    assert [record.getMessage() for record in caplog.records] == [
        f"unreadable image={victim} replaced by={whole.source.ids_at(whole.index)[same_class]}"
    ]


def test_too_many_unreadable_images_end_training(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 4)
    config = stored_trial(folder, data={"max_bad": 0.01})
    stored = split_of(config)
    damage(folder, stored.source.ids_at(stored.index)[3])

    with pytest.raises(
        ValueError, match=r"1 of 36 train images are unreadable, more than data\.max_bad"
    ):
        tensors(load_train(config))


def test_an_unreadable_image_of_the_select_split_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 4)
    config = stored_trial(folder)
    for file in folder.glob("chelsea/*.png"):
        damage(folder, f"chelsea/{file.name}")

    with pytest.raises(ValueError, match=r"image chelsea/.* is unreadable: .*; repair it"):
        load_held_out(config.data, "select", threads=2)


def test_select_is_balanced_from_its_beginning_and_apart_from_train(folder: Path) -> None:
    config = stored_trial(folder, data={"select_images": 2 * CLASSES})
    select = load_held_out(config.data, "select", threads=2)
    train = tensors(load_train(config))

    assert select.first(CLASSES).labels.tolist() == list(range(CLASSES))
    seen = {image.numpy().tobytes() for image in train}
    assert len(seen) == len(train) == 2 * CLASSES
    assert not seen & {image.numpy().tobytes() for image in select.images}


def test_a_search_never_opens_the_test_images(folder: Path) -> None:
    # The test path of these trials does not exist.
    config = stored_trial(folder)

    load_train(config)
    load_held_out(config.data, "select", threads=1)

    with pytest.raises(ValueError, match="/nowhere"):
        load_held_out(config.data, "test", threads=1)


def test_fewer_train_images_are_part_of_more_and_select_stays(folder: Path) -> None:
    small = stored_trial(folder, data={"train_images": CLASSES})
    large = stored_trial(folder, data={"train_images": 2 * CLASSES})

    few, many = split_of(small), split_of(large)

    assert set(few.index.tolist()) < set(many.index.tolist())
    assert torch.equal(
        load_held_out(small.data, "select", threads=1).images,
        load_held_out(large.data, "select", threads=1).images,
    )


def test_training_on_files_resumes_bit_by_bit(large: Path) -> None:
    config = stored_trial(large, augment={"crop_scale": 0.3, "flip": 0.5}, epochs=2)

    def run(resume: TrainState | None) -> Iterator[TrainState]:
        return fit(
            config,
            images=load_train(config),
            rungs=(),
            evaluate=lambda _, __: CHECK,
            group=alone(torch.device("cpu")),
            resume=resume,
            start=None,
        )

    *_, whole = run(None)
    (resumed,) = run(next(run(None)))

    torch.testing.assert_close(resumed.model, whole.model, rtol=0, atol=0)
