import hashlib
import pickle
import random
from collections import Counter
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from defect_synth.datasets.defect_dataset import DefectSynthDataset
from defect_synth.datasets.joint_transform import apply_jointly, kind_of
from defect_synth.errors import ConfigError, DataError, OutputError, UnknownDefectError
from tests.fake_sources import DEFECTS, SIZE, NoiseSource, write_generated


class WithoutDigest(NoiseSource):
    digest = ""


def fingerprint(items) -> list[str]:
    """One hash per item over everything in it."""
    out = []
    for item in items:
        state = hashlib.sha256()
        for key in sorted(item):
            value = item[key]
            state.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
        out.append(state.hexdigest())
    return out


def as_list(batch):
    """A collate_fn that leaves the items alone."""
    return batch


def loaded(dataset, workers: int = 0, context: str | None = None, batch: int = 3) -> list[str]:
    loader = DataLoader(
        dataset, batch_size=batch, num_workers=workers, collate_fn=as_list, multiprocessing_context=context
    )
    return fingerprint([item for items in loader for item in items])


def test_item_holds_the_pixels_of_the_source_and_their_label():
    source = NoiseSource()
    dataset = DefectSynthDataset(source, per_defect=2, include_clean=True, seed=5)

    item = dataset[3]

    expected = source.one("cut", 6)
    assert torch.equal((item["image"] * 255).round().to(torch.uint8).permute(1, 2, 0), torch.from_numpy(expected.image))
    assert torch.equal((item["clean"] * 255).round().to(torch.uint8).permute(1, 2, 0), torch.from_numpy(expected.clean))
    assert torch.equal(item["mask"], torch.from_numpy(expected.mask))
    assert item["image"].dtype == torch.float32
    assert item["mask"].dtype == torch.uint8
    assert (item["label"], item["index"], item["defect"], item["seed"]) == (1, 3, "cut", 6)


def test_per_defect_gives_exactly_those_seeds_in_every_epoch():
    dataset = DefectSynthDataset(NoiseSource(), per_defect=3, defects=["hole", "crack"], seed=10)

    first = [(dataset[i]["defect"], dataset[i]["seed"]) for i in range(len(dataset))]
    dataset.set_epoch(4)
    later = [(dataset[i]["defect"], dataset[i]["seed"]) for i in range(len(dataset))]

    assert first == later == [("crack", 10), ("crack", 11), ("crack", 12), ("hole", 10), ("hole", 11), ("hole", 12)]
    assert dataset.classes == ["crack", "hole"]
    assert dataset.targets == [0, 0, 0, 1, 1, 1]


def test_length_is_shared_out_evenly_and_targets_are_the_labels():
    source = NoiseSource()
    dataset = DefectSynthDataset(source, length=11)
    assert Counter(dataset.targets) == {0: 4, 1: 4, 2: 3}
    assert source.calls == []  # targets cost nothing
    assert [item["label"] for item in dataset.__getitems__(range(11))] == dataset.targets
    assert dataset.class_to_idx == {"crack": 0, "cut": 1, "hole": 2}


def test_weights_give_their_proportions_in_every_stretch():
    dataset = DefectSynthDataset(NoiseSource(), length=100, weights={"crack": 6, "cut": 3, "hole": 1})
    assert Counter(dataset.targets) == {0: 60, 1: 30, 2: 10}
    for start in range(0, 100, 20):
        counts = Counter(dataset.targets[start : start + 20])
        assert [counts[label] for label in range(3)] == pytest.approx([12, 6, 2], abs=1)


def test_a_weight_of_zero_leaves_the_defect_out_but_keeps_its_label():
    dataset = DefectSynthDataset(NoiseSource(), length=10, weights={"crack": 1, "cut": 0, "hole": 1})
    assert Counter(dataset.targets) == {0: 5, 2: 5}


def test_epochs_differ_in_their_images_but_not_in_their_labels():
    dataset = DefectSynthDataset(NoiseSource(), length=12)
    first = [dataset[i] for i in range(12)]
    dataset.set_epoch(1)
    second = [dataset[i] for i in range(12)]

    assert all(a["seed"] != b["seed"] for a, b in zip(first, second, strict=True))
    assert [a["label"] for a in first] == [b["label"] for b in second]
    dataset.set_epoch(0)
    assert fingerprint([dataset[i] for i in range(12)]) == fingerprint(first)


def test_other_dataset_seed_other_items():
    first, second = (fingerprint(DefectSynthDataset(NoiseSource(), length=12, seed=seed)) for seed in (0, 1))
    assert not set(first) & set(second)


def test_a_batch_asks_the_source_once_per_defect():
    source = NoiseSource()
    dataset = DefectSynthDataset(source, length=12)

    batch = dataset.__getitems__([7, 0, 3, 1, 6, 0])

    assert sorted(defect for defect, _ in source.calls) == ["crack", "cut"]
    assert [item["index"] for item in batch] == [7, 0, 3, 1, 6, 0]
    assert fingerprint(batch) == fingerprint([dataset[i] for i in (7, 0, 3, 1, 6, 0)])


def test_negative_and_too_large_indices():
    dataset = DefectSynthDataset(NoiseSource(), length=6)
    assert dataset[-1]["index"] == 5
    assert len(list(dataset)) == 6  # iteration ends by IndexError
    with pytest.raises(IndexError, match="index 6"):
        dataset[6]


def test_clean_fraction_adds_good_items_with_empty_masks_as_label_0():
    dataset = DefectSynthDataset(NoiseSource(), length=20, clean_fraction=0.25, include_clean=True)
    assert dataset.classes == ["good", *DEFECTS]
    assert Counter(dataset.targets) == {0: 5, 1: 5, 2: 5, 3: 5}
    for item in dataset:
        assert (item["defect"] == "good") == (item["label"] == 0) == (int(item["mask"].sum()) == 0)
        assert torch.equal(item["image"], item["clean"]) == (item["label"] == 0)


def test_clean_items_of_a_fixed_set_show_objects_of_their_own():
    dataset = DefectSynthDataset(NoiseSource(), per_defect=2, clean_fraction=0.5)
    items = list(dataset)
    good = [item for item in items if item["defect"] == "good"]
    assert len(items) == 12
    assert len(good) == 6
    assert {item["seed"] for item in good} == {2, 3}
    assert all(item["seed"] < 2 for item in items if item["defect"] != "good")


def test_missing_pairs_are_an_error_when_clean_images_are_asked_for():
    with pytest.raises(ConfigError, match="include_clean needs a source with clean pairs; noise gave none for 'crack'"):
        DefectSynthDataset(NoiseSource(pairs=False), per_defect=1, include_clean=True)[0]
    with pytest.raises(ConfigError, match="clean_fraction needs"):
        DefectSynthDataset(NoiseSource(pairs=False), length=2, clean_fraction=0.5)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(length=0), "length must be at least 1, got 0"),
        (dict(length=4, per_defect=2), "exclude each other"),
        (dict(per_defect=-1), "per_defect must be at least 1"),
        (dict(weights={"crack": 1}), "weights need length"),
        (dict(length=4, weights={"crack": 1}), "weights must name exactly crack, cut, hole; got crack"),
        (dict(length=4, weights=dict.fromkeys(DEFECTS, 0)), "not all zero"),
        (dict(clean_fraction=1.0), "clean_fraction must be at least 0 and below 1, got 1.0"),
        (dict(seed=-1), "seed must not be negative"),
        (dict(defects="crack"), "defects must be a list"),
        (dict(defects=[]), "defects is empty"),
        (dict(transform=3), "transform must be callable"),
    ],
)
def test_wrong_arguments_name_the_rule(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DefectSynthDataset(NoiseSource(), **arguments)


def test_unknown_defect_lists_the_known_ones():
    with pytest.raises(UnknownDefectError, match="unknown defect 'scratch' for hazelnut; known: crack, cut, hole"):
        DefectSynthDataset(NoiseSource(), defects=["scratch"])


def test_missing_path_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="does not exist; expected demo"):
        DefectSynthDataset(tmp_path / "runs")


def albumentations_transform():
    albumentations = pytest.importorskip("albumentations")
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.5),
            albumentations.RandomBrightnessContrast(p=1),
        ],
        seed=5,
    )


def torchvision_transform():
    from defect_synth.nn.torchvision_import import ensure_torchvision

    ensure_torchvision()
    from torchvision.transforms import v2

    return v2.Compose([v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5), v2.RandomCrop(12)])


def noisy_flip(image, mask):
    """A plain callable that draws from every global generator."""
    if random.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if np.random.rand() < 0.5:
        image, mask = image[::-1], mask[::-1]
    return torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 * torch.rand(()), mask


TRANSFORMS = {
    "albumentations": albumentations_transform,
    "torchvision": torchvision_transform,
    "plain": lambda: noisy_flip,
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_moves_image_mask_and_clean_alike(name):
    dataset = DefectSynthDataset(NoiseSource(), length=24, transform=TRANSFORMS[name](), include_clean=True)
    plain = DefectSynthDataset(NoiseSource(), length=24)
    moved = 0
    for item, original in zip(dataset, plain, strict=True):
        changed = (item["image"] - item["clean"]).abs().sum(0) > 1e-3
        assert torch.equal(changed, item["mask"] == 1)
        moved += not torch.equal(item["mask"], original["mask"])
    assert moved > 6


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transformed_items_depend_on_seed_epoch_and_index_alone(name):
    dataset = DefectSynthDataset(NoiseSource(), length=8, transform=TRANSFORMS[name]())
    forward = fingerprint([dataset[i] for i in range(8)])
    torch.manual_seed(9)
    random.seed(9)
    assert fingerprint([dataset[i] for i in reversed(range(8))]) == forward[::-1]
    assert fingerprint(dataset.__getitems__(range(8))) == forward
    assert fingerprint(pickle.loads(pickle.dumps(dataset))) == forward


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_draws_anew_in_every_epoch_of_a_fixed_set(name):
    dataset = DefectSynthDataset(NoiseSource(), per_defect=4, transform=TRANSFORMS[name]())
    first = fingerprint(dataset)
    dataset.set_epoch(1)
    assert sum(a != b for a, b in zip(first, fingerprint(dataset), strict=True)) >= 6


def test_global_generators_are_as_before():
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    list(DefectSynthDataset(NoiseSource(), length=4, transform=noisy_flip))
    list(DefectSynthDataset(NoiseSource(), length=4, transform=torchvision_transform()))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_two_flips_of_one_compose_are_independent():
    # albumentations 2.0.8 gives every child of Compose(seed=...) the same stream: both flips or none.
    albumentations = pytest.importorskip("albumentations")
    both = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)], seed=5)
    sample = NoiseSource().one("hole", 0)
    versions = {
        "none": sample.image,
        "h": sample.image[:, ::-1],
        "v": sample.image[::-1],
        "hv": sample.image[::-1, ::-1],
    }
    seen = Counter()
    for seed in range(40):
        image, _ = apply_jointly(both, sample.image, sample.mask, seed)
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        seen.update(name for name, expected in versions.items() if np.array_equal(pixels, expected))
    assert len(seen) == 4
    assert min(seen.values()) >= 4


def test_transforms_are_told_apart_by_type():
    assert kind_of(albumentations_transform()) == "albumentations"
    assert kind_of(albumentations_transform().transforms[0]) == "albumentations"
    assert kind_of(torchvision_transform()) == "torchvision"
    assert kind_of(noisy_flip) == "callable"


def test_torchvision_first_api_is_refused():
    torchvision_transform()
    from torchvision.transforms import RandomHorizontalFlip

    with pytest.raises(ConfigError, match=r"moves the image but not the mask; use torchvision.transforms.v2.Random"):
        DefectSynthDataset(NoiseSource(), length=2, transform=RandomHorizontalFlip())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda image, mask: image, r"must return \(image, mask\), got ndarray"),
        (lambda image, mask: (image[..., 0], mask), r"image \[H, W, 3\] or a tensor \[3, H, W\], got ndarray uint8"),
        (lambda image, mask: (image.astype(int), mask), "uint8 or float image"),
        (lambda image, mask: (image, image), r"must return a mask \[H, W\]"),
        (lambda image, mask: (image, mask * 0.5), "mask values at 0 and 1"),
        (lambda image, mask: (image, mask * 255), "mask values at 0 and 1"),
    ],
)
def test_transform_that_returns_something_else_is_an_error(returned, message):
    with pytest.raises(ConfigError, match=message):
        DefectSynthDataset(NoiseSource(), length=2, transform=returned)[0]


def test_transform_cannot_write_into_the_source():
    class Keeps(NoiseSource):
        kept = NoiseSource().one("crack", 0)

        def one(self, defect, seed):
            return self.kept

    def blacken(image, mask):
        image[:] = 0
        mask[:] = 0
        return image, mask

    DefectSynthDataset(Keeps(), per_defect=1, defects=["crack"], transform=blacken)[0]
    item = DefectSynthDataset(Keeps(), per_defect=1, defects=["crack"])[0]
    item["mask"].zero_()
    item["image"].zero_()
    fresh = NoiseSource().one("crack", 0)
    assert np.array_equal(Keeps.kept.mask, fresh.mask)
    assert np.array_equal(Keeps.kept.image, fresh.image)


def test_folder_dataset_holds_each_sample_once(tmp_path):
    write_generated(tmp_path, NoiseSource(), {"hole": [7, 3], "crack": [0, 1, 5]})
    dataset = DefectSynthDataset(tmp_path)
    assert [(item["defect"], item["seed"]) for item in dataset] == [
        ("crack", 0),
        ("crack", 1),
        ("crack", 5),
        ("hole", 3),
        ("hole", 7),
    ]
    drawn = DefectSynthDataset(tmp_path, length=40, clean_fraction=0.5)
    assert {(d, s) for item in drawn for d, s in [(item["defect"], item["seed"])] if d == "hole"} == {
        ("hole", 3),
        ("hole", 7),
    }


def forks(test):
    """Python 3.12 warns of forking beside threads, torch of more workers than cores; both are meant here."""
    few_cores = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
    return pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")(few_cores(test))


@forks
@pytest.mark.parametrize("name", TRANSFORMS)
def test_forked_workers_change_nothing(name):
    dataset = DefectSynthDataset(NoiseSource(), length=14, clean_fraction=0.2, transform=TRANSFORMS[name]())
    alone = loaded(dataset)
    assert len(set(alone)) == 14
    assert loaded(dataset, 1, "fork") == alone
    assert loaded(dataset, 4, "fork", batch=2) == alone


def test_spawned_persistent_workers_change_nothing_and_follow_the_epoch(tmp_path):
    # A real source and transform, because a spawned process imports everything afresh.
    write_generated(tmp_path, NoiseSource(), {defect: [0, 1, 2, 3] for defect in DEFECTS})
    dataset = DefectSynthDataset(tmp_path, length=6, transform=torchvision_transform())
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=1,
        multiprocessing_context="spawn",
        persistent_workers=True,
        collate_fn=list,
    )
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        assert fingerprint([item for items in loader for item in items]) == fingerprint(dataset)


@forks
@pytest.mark.parametrize("copied", [False, True])
def test_persistent_forked_workers_follow_the_epoch(copied):
    dataset = DefectSynthDataset(NoiseSource(), length=6)
    if copied:
        dataset = deepcopy(dataset)
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=2,
        multiprocessing_context="fork",
        persistent_workers=True,
        collate_fn=as_list,
    )
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        epochs.append(fingerprint([item for items in loader for item in items]))
        assert epochs[-1] == fingerprint(dataset)
    assert epochs[0] != epochs[1]


def test_default_collate_makes_a_batch():
    batch = next(iter(DataLoader(DefectSynthDataset(NoiseSource(), length=6, include_clean=True), batch_size=4)))
    assert batch["image"].shape == batch["clean"].shape == (4, 3, SIZE, SIZE)
    assert batch["mask"].shape == (4, SIZE, SIZE)
    assert batch["label"].tolist() == [0, 1, 2, 0]
    assert batch["label"].dtype == torch.int64


class AnySize(NoiseSource):
    def one(self, defect, seed):
        sample = super().one(defect, seed)
        window = np.s_[: SIZE - seed]
        return replace(sample, image=sample.image[window], mask=sample.mask[window], clean=sample.clean[window])


def test_a_batch_of_several_sizes_is_refused_with_what_to_do():
    dataset = DefectSynthDataset(AnySize(), per_defect=3)
    expected = "a batch needs images of one size, this one has 16x14, 16x15, 16x16; resize them in transform="
    with pytest.raises(DataError, match=expected):
        next(iter(DataLoader(dataset, batch_size=6)))
    assert [len(batch["image"][0, 0]) for batch in DataLoader(dataset)] == [16, 15, 14] * 3
    assert [item["mask"].shape[0] for item in dataset] == [16, 15, 14] * 3
    allowed = DefectSynthDataset(AnySize(), per_defect=3, mixed_sizes=True)
    assert fingerprint(next(iter(DataLoader(allowed, batch_size=9, collate_fn=as_list)))) == fingerprint(dataset)
    resized = DefectSynthDataset(AnySize(), per_defect=3, transform=lambda i, m: (i[:12].copy(), m[:12].copy()))
    assert next(iter(DataLoader(resized, batch_size=9)))["image"].shape == (9, 3, 12, SIZE)


@forks
def test_workers_share_a_cache(tmp_path):
    source = NoiseSource()
    dataset = DefectSynthDataset(source, per_defect=4, cache=tmp_path)
    expected = fingerprint(DefectSynthDataset(NoiseSource(), per_defect=4))
    assert loaded(dataset, 4, "fork", batch=1) == expected
    assert source.calls == []  # made in the workers
    assert loaded(dataset) == expected
    assert source.calls == []  # found on disk


def test_cache_without_a_digest_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cache needs a source with a digest, that of WithoutDigest is empty"):
        DefectSynthDataset(WithoutDigest(), length=2, cache=tmp_path)


def test_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    dataset = DefectSynthDataset(NoiseSource(), length=2, cache=tmp_path / "taken")
    with pytest.raises(OutputError, match=r"cannot write .*taken.*: a file stands where a folder is needed"):
        dataset[0]
