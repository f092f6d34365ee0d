"""The albumentations contract, and randomness across real DataLoader workers."""

from __future__ import annotations

import importlib.util
import json
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from defect_synth.augment import DefectAugmenter
from defect_synth.augment.adapters.albumentations import DefectSynth, call_seeded, refuse_albumentationsx
from defect_synth.augment.adapters.metadata_item import mask_box
from defect_synth.compositor.bank import bank_from_samples
from defect_synth.demo.hazelnut import render
from defect_synth.errors import ConfigError, DataError, DefectSynthError, UnknownDefectError
from defect_synth.export.generated_folder import generate
from defect_synth.painter import Painter
from defect_synth.samples import DefectSample, Provenance

SIDE = 48


def part(seed, side=SIDE):
    """A bright part with its own noise."""
    rng = np.random.default_rng(seed)
    return np.clip(170 + rng.normal(0, 4, (side, side, 3)), 0, 255).astype(np.uint8)


class Spots:
    """A source of dark and of red squares on such parts."""

    category, defects, digest = "part", ("dark", "red"), "spots"

    def sample(self, defect, seeds):
        out = []
        for seed in seeds:
            clean = part([seed, 1])
            mask = np.zeros((SIDE, SIDE), np.uint8)
            y, x = 8 + seed % 20, 8 + 3 * seed % 20
            mask[y : y + 9, x : x + 8] = 1
            colour = (20, 20, 20) if defect == "dark" else (230, 20, 20)
            image = np.where(mask[..., None] > 0, np.uint8(colour), clean)
            out.append(DefectSample(image, mask, defect, Provenance("fake", "part", defect, seed), clean))
        return out


@pytest.fixture(scope="module")
def bank():
    source = Spots()
    return bank_from_samples("part", [s for d in source.defects for s in source.sample(d, range(6))], "spots")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(generate(Spots(), tmp_path_factory.mktemp("spots"), count=4))


def run(transform, seed=0, **extra):
    image = part(seed)
    return image, transform(image=image, mask=np.zeros((SIDE, SIDE), np.uint8), **extra)


def changed(image, out):
    return (out["image"] != image).any(axis=2)


def test_mask_and_label_say_what_was_painted(bank):
    image, out = run(A.Compose([DefectSynth(bank, label_key="label", p=1)]))
    assert out["mask"].any()
    assert np.array_equal(out["mask"] > 0, changed(image, out))
    said = out["defect_synth"]
    assert out["label"] == said["label"] == {"dark": 1, "red": 2}[said["defect"]]


@pytest.mark.parametrize("settings", [{"p": 0}, {"p": 1, "severity": 0}, {"p": 1, "count": 0}])
def test_nothing_drawn_is_the_input_bit_for_bit_and_good(bank, settings):
    image, out = run(DefectSynth(bank, label_key="label", **settings))
    assert np.array_equal(out["image"], image)
    assert not out["mask"].any()
    assert (out["defect_synth"]["defect"], out["label"]) == ("good", 0)


def test_label_keeps_its_type_and_stays_where_nothing_is_painted(bank):
    for given, expected in ((np.int64(0), 2), (torch.tensor(0), 2), ("good", "red"), (0, 2)):
        _, out = run(DefectSynth(bank, defects=["red"], label_key="y", p=1), y=given)
        assert type(out["y"]) is type(given)
        assert out["y"] == expected
    assert run(DefectSynth(bank, label_key="y", p=0), y=7)[1]["y"] == 7


def test_masks_get_the_value_that_was_asked_for(bank):
    image = part(1)
    masks = np.stack([np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 9, np.uint8)])
    out = A.Compose([DefectSynth(bank, defects=["red"], mask_value="label", p=1)])(image=image, masks=masks)
    where = changed(image, out)
    assert set(np.unique(out["masks"][0][where])) == {2}
    assert set(np.unique(out["masks"][1][~where])) == {9}
    assert not masks[0].any()


def test_bounding_boxes_get_one_more_with_its_label(bank):
    for known, labels, expected in ((np.array([[1, 2, 9, 9]], float), [5], 2), (np.array([[1, 2, 9, 9]], float),
        ["x"], "red"), (np.zeros((0, 4)), [], 2)):  # fmt: skip
        pipeline = A.Compose(
            [DefectSynth(bank, defects=["red"], p=1)], bbox_params=A.BboxParams("pascal_voc", label_fields=["kinds"])
        )
        _, out = run(pipeline, bboxes=known, kinds=labels)
        assert list(out["kinds"]) == [*labels, expected]
        assert np.allclose(out["bboxes"][-1], mask_box(out["mask"]), atol=1e-3)


@pytest.mark.parametrize("move", [A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1)])
def test_boxes_follow_a_flip_and_the_description_holds_no_place_that_stays_behind(bank, move):
    pipeline = A.Compose(
        [DefectSynth(bank, seed=0, p=1), move], bbox_params=A.BboxParams("pascal_voc", label_fields=["kinds"])
    )
    _, out = run(pipeline, bboxes=np.zeros((0, 4)), kinds=[])
    assert np.allclose(out["bboxes"], [mask_box(out["mask"])], atol=1e-3)
    assert out["defect_synth"].keys() == {"defect", "label", "count", "severity", "seed"}


def test_only_image_is_painted_of_a_pair(bank):
    pipeline = A.Compose([DefectSynth(bank, p=1)], additional_targets={"reference": "image"})
    reference = part(5)
    image, out = run(pipeline, reference=reference)
    assert np.array_equal(out["reference"], reference)
    assert changed(image, out).any()


def test_float_and_grey_images_keep_their_type(bank):
    for image in (part(2).astype(np.float32) / 255, part(2)[..., :1], part(2)[..., 0]):
        out = DefectSynth(bank, p=1)(image=image, mask=np.zeros((SIDE, SIDE), np.uint8))
        assert (out["image"].dtype, out["image"].shape) == (image.dtype, image.shape)
        different = (out["image"] != image).reshape(SIDE, SIDE, -1).any(axis=2)
        assert different.any()
        assert np.array_equal(different, out["mask"] > 0)


def test_strict_pipelines_know_all_items(bank):
    pipeline = A.Compose([DefectSynth(bank, label_key="label", p=1)], strict=True)
    _, out = run(pipeline, label=0, defect_synth={"defect": "dark"})
    assert out["label"] == 1


def test_the_metadata_item_says_what_to_paint(bank):
    transform = DefectSynth(bank, p=1)
    region = np.zeros((SIDE, SIDE), bool)
    region[:24, :24] = True
    first, again = (run(transform, 3, defect_synth={"seed": 4, "defect": "red", "region": region})[1] for _ in "ab")
    assert np.array_equal(first["image"], again["image"])
    assert first["defect_synth"]["defect"] == "red"
    assert not first["mask"][~region].any()
    with pytest.raises(DataError, match="dict with any of seed"):
        run(transform, defect_synth={"sead": 4})


def test_two_in_a_row_paint_twice_and_say_so(bank):
    pipeline = A.Compose([DefectSynth(bank, ["dark"], p=1), DefectSynth(bank, ["red"], p=1)])
    image, out = run(pipeline)
    assert (out["defect_synth"]["defect"], out["defect_synth"]["count"]) == ("combined", 2)
    assert np.array_equal(changed(image, out), out["mask"] > 0)
    only_first = A.Compose([DefectSynth(bank, ["dark"], p=1), DefectSynth(bank, ["red"], p=0)])
    assert run(only_first)[1]["defect_synth"]["defect"] == "dark"


def test_one_of_paints_with_one_of_them(bank):
    pipeline = A.OneOf([DefectSynth(bank, ["dark"]), DefectSynth(bank, ["red"])], p=1)
    pipeline.set_random_state(np.random.default_rng(0), random.Random(0))
    assert {run(pipeline, k)[1]["defect_synth"]["defect"] for k in range(12)} == {"dark", "red"}


def test_replay_gives_the_same_bytes(folder):
    pipeline = A.ReplayCompose([A.HorizontalFlip(p=0.5), DefectSynth(folder, p=0.5)])
    pipeline.set_random_state(np.random.default_rng(0), random.Random(0))
    painted = set()
    for k in range(8):
        image, out = run(pipeline, k)
        json.dumps(out["replay"], default=str)
        again = A.ReplayCompose.replay(out["replay"], image=image, mask=np.zeros((SIDE, SIDE), np.uint8))
        assert np.array_equal(out["image"], again["image"])
        assert np.array_equal(out["mask"], again["mask"])
        painted.add(bool(out["mask"].any()))
    assert painted == {True, False}


@pytest.mark.parametrize("data_format", ["json", "yaml"])
def test_pipelines_are_saved_and_loaded(folder, tmp_path, data_format):
    settings = {
        "defects": ["red"],
        "severity": (0.5, 1.2),
        "count": (1, 2),
        "mask_value": 7,
        "label_key": "y",
        "seed": 3,
    }
    pipeline = A.Compose([DefectSynth(folder, p=1, **settings)])
    A.save(pipeline, str(tmp_path / "pipeline"), data_format=data_format)
    loaded = A.load(str(tmp_path / "pipeline"), data_format=data_format)
    assert A.to_dict(loaded) == A.to_dict(pipeline)
    assert np.array_equal(run(pipeline)[1]["image"], run(loaded)[1]["image"])


def test_a_pipeline_with_an_object_prints_and_is_refused_by_json_only(bank, tmp_path):
    pipeline = A.Compose([DefectSynth(bank, p=1)])
    assert "DefectSynth(" in repr(pipeline)
    assert "Bank object" in repr(pipeline)
    again = A.from_dict(A.to_dict(pipeline))
    assert again.transforms[0].source is bank
    with pytest.raises(TypeError, match="Bank is not JSON serializable"):
        A.save(pipeline, str(tmp_path / "pipeline.json"))


def test_threads_that_share_a_transform_get_labels_of_their_own_images(bank):
    image = part(0)
    pipeline = DefectSynth(bank, p=0.5, label_key="label", seed=3)
    images = [np.roll(image, k, axis=0) for k in range(24)]

    def paint(given):
        out = pipeline(image=given, mask=np.zeros(given.shape[:2], np.uint8), label=0)
        return bool(out["mask"].any()), out["label"], bool((out["image"] != given).any()), out["image"].tobytes()

    alone = [paint(given) for given in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(paint, images * 3))
    assert together == alone * 3
    for painted, label, changed, _ in together:
        assert painted == changed == bool(label)
    assert {painted for painted, *_ in alone} == {False, True}


def test_labels_of_boxes_do_not_depend_on_earlier_images(bank):
    def boxes_of(pipeline, boxes, labels):
        return pipeline(image=part(0), bboxes=boxes, labels=labels)["labels"]

    def pipeline():
        params = A.BboxParams("pascal_voc", label_fields=["labels"])
        return A.Compose([DefectSynth(bank, p=1, defects=["dark"], seed=1)], bbox_params=params)

    fresh, used = pipeline(), pipeline()
    assert boxes_of(used, [[1, 1, 9, 9]], ["scratch"]) == ["scratch", "dark"]
    assert boxes_of(used, [], []) == boxes_of(fresh, [], []) == [used.transforms[0].label_to_index["dark"]]


class _Painted(Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.transform(image=np.roll(part(0), index, axis=1))["image"]


def test_the_epoch_reaches_workers_that_outlive_it(bank):
    transform = DefectSynth(bank, p=1, seed=0)
    loader = DataLoader(
        _Painted(transform), batch_size=4, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    epochs = []
    for epoch in (0, 1, 2, 1):
        transform.set_epoch(epoch)
        epochs.append(next(iter(loader)).numpy())
    assert not any(np.array_equal(epochs[a], epochs[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_array_equal(epochs[1], epochs[3])


def test_pickled_transforms_paint_alike(bank):
    transform = DefectSynth(bank, p=1, seed=1)
    run(transform)
    copied = pickle.loads(pickle.dumps(transform))
    assert np.array_equal(run(transform)[1]["image"], run(copied)[1]["image"])


def test_albumentationsx_is_refused():
    with pytest.raises(DefectSynthError, match="pip uninstall albumentationsx"):
        refuse_albumentationsx(SimpleNamespace(BasicTransform=SimpleNamespace(sample_parameters=None)))


def test_mistakes_give_one_line(bank, tmp_path):
    for mistake, error, words in (
        (lambda: DefectSynth(bank, ["holes"]), UnknownDefectError, "known: dark, red"),
        (lambda: DefectSynth(bank, severity=2), ConfigError, "between 0 and 1.5"),
        (lambda: DefectSynth(bank, mask_value=0), ConfigError, "mask_value"),
        (lambda: DefectSynth(bank, seed=-1), ConfigError, "seed"),
        (lambda: DefectSynth(tmp_path / "none"), DataError, "does not exist"),
        (lambda: DefectSynth(bank, p=1)(images=np.zeros((2, 32, 32, 3), np.uint8)), DataError, "'image'"),
        (lambda: DefectSynth(bank, p=1)(image=part(0), mask=np.zeros((9, 9), np.uint8)), DataError, "make them equal"),
        (lambda: DefectSynth(bank, p=1, mask_value=300)(image=part(0), mask=np.zeros((48, 48), np.uint8)), ConfigError,
         "300 does not fit"),
    ):  # fmt: skip
        with pytest.raises(error, match=words) as raised:
            mistake()
        assert "\n" not in str(raised.value)


# --- randomness -------------------------------------------------------------------------------------------------------


class Parts(Dataset):
    """The same image throughout: whatever differs was drawn."""

    def __init__(self, transform, call=None):
        self.transform, self.call, self.epoch = transform, call, 0

    def __len__(self):
        return 8

    def __getitem__(self, k):
        data = {"image": part(k if self.call == "content" else 0), "mask": np.zeros((SIDE, SIDE), np.uint8)}
        if self.call == "seeded":
            out = call_seeded(self.transform, self.epoch * len(self) + k, **data)
        else:
            out = self.transform(**data)
        return out["image"], out["mask"], out["defect_synth"]


def epoch_of(dataset, workers, method="fork", seed=0):
    loader = DataLoader(
        dataset, batch_size=1, num_workers=workers, multiprocessing_context=method if workers else None,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    return [batch[0][0].numpy().tobytes() for batch in loader]


def test_albumentations_itself_repeats_in_workers_which_is_why_we_do_not_rely_on_it():
    dataset = Parts(A.Compose([A.RandomBrightnessContrast(p=1), _Described()], seed=5))
    images = epoch_of(dataset, 2)
    assert images[0] == images[1]


class _Described(A.NoOp):
    def __call__(self, *args, **kwargs):
        return {**kwargs, "defect_synth": 0}


@pytest.mark.parametrize("seed", [None, 5])
def test_workers_and_epochs_never_repeat_each_other(bank, seed):
    dataset = Parts(A.Compose([DefectSynth(bank, p=1, severity=(0.6, 1.3))], seed=seed))
    seen = epoch_of(dataset, 2, seed=1) + epoch_of(dataset, 2, seed=2)
    assert len(set(seen)) == len(seen)


def test_a_state_set_before_the_workers_start_does_not_make_them_repeat(bank):
    pipeline = A.Compose([DefectSynth(bank, p=1, severity=(0.6, 1.3))])
    pipeline.set_random_state(np.random.default_rng(0), random.Random(0))
    images = epoch_of(Parts(pipeline), 2)
    assert len(set(images)) == len(images)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_seeded_results_do_not_depend_on_workers_and_differ_between_epochs(bank):
    pipeline = A.Compose([A.RandomBrightnessContrast(p=0.5), DefectSynth(bank, p=1, severity=(0.6, 1.3))])
    dataset = Parts(pipeline, "seeded")
    alone = epoch_of(dataset, 0)
    assert len(set(alone)) == len(alone)
    for workers in (1, 2, 4):
        assert epoch_of(dataset, workers) == alone
    dataset.epoch = 1
    assert not set(epoch_of(dataset, 2)) & set(alone)
    dataset.epoch = 0
    assert epoch_of(dataset, 2) == alone


def test_fixed_seed_needs_no_help_from_the_dataset(bank):
    transform = DefectSynth(bank, p=1, severity=(0.6, 1.3), seed=3)
    dataset = Parts(transform, "content")
    alone = epoch_of(dataset, 0)
    assert epoch_of(dataset, 2) == alone
    transform.set_epoch(1)
    assert not set(epoch_of(dataset, 2)) & set(alone)


@pytest.mark.slow
def test_spawned_workers_paint_the_same(bank):
    dataset = Parts(DefectSynth(bank, p=1, seed=3), "content")
    assert epoch_of(dataset, 2, "spawn") == epoch_of(dataset, 0)


def test_equal_generators_of_compose_do_not_couple_its_children(bank):
    pipeline = A.Compose([A.HorizontalFlip(p=0.5), DefectSynth(bank, p=0.5), DefectSynth(bank, p=0.5)], seed=5)
    counts, painted = [], []
    for _ in range(60):
        _, out = run(pipeline)
        counts.append(out["defect_synth"]["count"])
        image = part(0)
        outside = out["mask"] == 0
        flipped = np.array_equal(out["image"][outside], image[:, ::-1][outside])
        painted.append((flipped, out["defect_synth"]["count"] > 0))
    assert set(counts) == {0, 1, 2}
    assert len(set(painted)) == 4


def test_the_plain_call_and_the_transform_paint_the_same(bank):
    _, out = run(DefectSynth(bank, p=1, seed=2))
    drawn = out["defect_synth"]["seed"]
    plain = DefectAugmenter(bank).apply(part(0), np.random.default_rng([drawn, 3]))
    assert np.array_equal(plain.image, out["image"])


def test_the_example_gives_the_same_labels_for_any_workers(folder, tmp_path):
    path = Path(__file__).parents[3] / "examples" / "augment_with_albumentations.py"
    spec = importlib.util.spec_from_file_location("example_augment", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for k in range(6):
        cv2.imwrite(str(tmp_path / f"{k}.png"), part(k))
    alone, shared = (
        example.main([folder, str(tmp_path), "--size", "48", "--epochs", "3", "--workers", str(workers)])
        for workers in (0, 2)
    )
    assert alone == shared
    assert alone.total() == 18
    assert alone["good"] < 18


# --- a painter as the source ------------------------------------------------------------------------------------------

SHIPPED = str(Path(__file__).parents[3] / "defect_synth" / "demo" / "models" / "demo_painter.safetensors")


class Nuts(Dataset):
    """Four procedural nuts, painted online."""

    def __init__(self, transform):
        self.transform, self.images = transform, [render(70 + k, 80).image for k in range(4)]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, k):
        out = self.transform(image=self.images[k], mask=np.zeros((80, 80), np.uint8))
        return out["image"], out["mask"], out["defect_synth"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_a_painter_file_paints_online_alike_in_any_number_of_forked_workers():
    dataset = Nuts(DefectSynth(SHIPPED, p=1, seed=3))
    alone = epoch_of(dataset, 0)
    assert all(image != dataset.images[k].tobytes() for k, image in enumerate(alone))
    for workers in (1, 2, 4):
        assert epoch_of(dataset, workers) == alone


@pytest.mark.slow
def test_a_painter_file_paints_alike_in_spawned_workers():
    dataset = Nuts(DefectSynth(SHIPPED, p=1, seed=3))
    assert epoch_of(dataset, 2, "spawn") == epoch_of(dataset, 0)


def test_a_painters_pool_is_a_bank_of_what_it_painted():
    painter = Painter.load(SHIPPED)
    pool = bank_from_samples(
        painter.category, [s for d in painter.defects for s in painter.sample(d, range(2))], painter.digest
    )
    out = DefectSynth(pool, p=1)(image=render(70, 80).image, mask=np.zeros((80, 80), np.uint8))
    assert out["mask"].any()


def test_a_painter_pipeline_is_saved_and_nothing_drawn_is_the_input(tmp_path):
    pipeline = A.Compose([DefectSynth(SHIPPED, p=1, seed=1)])
    A.save(pipeline, str(tmp_path / "pipeline.json"))
    image = render(70, 80).image
    again = A.load(str(tmp_path / "pipeline.json"))(image=image)["image"]
    assert np.array_equal(pipeline(image=image)["image"], again)
    painter = Painter.load(SHIPPED)
    for settings in ({"p": 0}, {"p": 1, "severity": 0}):
        assert DefectSynth(painter, **settings)(image=image)["image"].tobytes() == image.tobytes()
    with pytest.raises(ConfigError, match="the source is a painter"):
        DefectSynth(painter, mode="residual")
