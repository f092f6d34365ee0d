import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defect_synth.benchmark import (
    BenchmarkResult,
    ClassifyConfig,
    LabelledArrays,
    PartitionArrays,
    compare,
    format_table,
    load_partition,
    wilson_interval,
)
from defect_synth.errors import ConfigError, DataError
from defect_synth.samples import DefectSample, Provenance

CLASSES = ("crack", "hole")
SIZE = 32
TINY = ClassifyConfig(architecture="test_resnet", steps=3, batch=8)


class ColourSource:
    """Red squares are cracks, green ones holes."""

    category = "hazelnut"
    defects = CLASSES
    digest = "colour-1"

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.asked: list[tuple[str, int]] = []

    def sample(self, defect, seeds):
        self.asked += [(defect, seed) for seed in seeds]
        return [self.one(defect, seed) for seed in seeds]

    def one(self, defect: str, seed: int) -> DefectSample:
        rng = np.random.default_rng([CLASSES.index(defect), seed])
        image = rng.integers(60, 120, (self.size, self.size, 3), dtype=np.uint8)
        mask = np.zeros((self.size, self.size), np.uint8)
        top, left = rng.integers(0, self.size - 10, 2)
        mask[top : top + 10, left : left + 10] = 1
        image[..., CLASSES.index(defect)][mask == 1] = 250
        return DefectSample(image, mask, defect, Provenance("colour", self.category, defect, seed))


def real(first_seed: int, count: int) -> LabelledArrays:
    source = ColourSource()
    samples = [source.one(defect, first_seed + i) for i in range(count) for defect in CLASSES]
    return LabelledArrays.from_samples(samples, CLASSES)


def partition(name: str = "P1", first_seed: int = 10_000) -> PartitionArrays:
    return PartitionArrays(name, real(first_seed, 3), real(first_seed + 100, 6))


def result(arm: str, correct: list[bool], part: str = "P1", seed: int = 0, **changes) -> BenchmarkResult:
    labels = tuple(i % 2 for i in range(len(correct)))
    answers = tuple(label if right else 1 - label for label, right in zip(labels, correct, strict=True))
    values = dict(
        category="hazelnut",
        partition=part,
        arm=arm,
        seed=seed,
        accuracy=sum(correct) / len(correct),
        interval=wilson_interval(sum(correct), len(correct)),
        recall={"crack": None, "hole": 0.5},
        confusion=((1, 2), (3, 4)),
        classes=CLASSES,
        test_names=tuple(f"hole/{i}.png" for i in range(len(correct))),
        labels=labels,
        predictions=answers,
        num_train=6,
        num_synthetic=0 if arm == "real" else 2000,
        num_test=len(correct),
        source="",
        config=TINY,
        weights="",
        steps=3,
        seconds=1.5,
        versions={"torch": "2"},
        device="cpu",
        threads=1,
        machine="x86_64",
    )
    return BenchmarkResult(**(values | changes))


def test_every_arm_runs_on_every_partition_with_equal_steps():
    sources: dict[str, ColourSource] = {}
    shown: list[LabelledArrays] = []

    def make_source(name: str, train: LabelledArrays) -> ColourSource:
        shown.append(train)
        return sources.setdefault(name, ColourSource())

    parts = [partition("P1"), partition("P2", 20_000)]
    written: list[BenchmarkResult] = []
    results = compare(
        "hazelnut", parts, make_source, TINY, synthetic_per_defect=5, seeds=(0, 1), on_result=written.append
    )

    assert [(r.partition, r.seed, r.arm) for r in results] == [
        (part, seed, arm) for part in ("P1", "P2") for seed in (0, 1) for arm in ("real", "real + synthetic")
    ]
    assert written == results
    assert {(r.steps, r.num_train, r.num_test) for r in results} == {(3, 6, 12)}
    assert {(r.arm, r.num_synthetic, r.source) for r in results} == {
        ("real", 0, ""),
        ("real + synthetic", 10, "ColourSource colour-1"),
    }
    assert [train.names for train in shown] == [part.train.names for part in parts]  # once each, never a test image
    assert sources["P1"].asked == [(defect, seed) for defect in CLASSES for seed in range(5)]
    assert all(r.interval == wilson_interval(sum(r.correct), 12) for r in results)
    assert results[0].accuracy == np.mean(results[0].correct)


def test_arms_that_see_the_same_images_give_the_same_answers():
    config = TINY.model_copy(update=dict(synthetic_share=0.0))
    alone, mixed = compare("hazelnut", [partition()], lambda *_: ColourSource(), config, synthetic_per_defect=4)
    assert alone.predictions == mixed.predictions
    assert "+0.0 [+0.0, +0.0] (1.000)" in format_table([alone, mixed])


def test_results_of_an_earlier_run_are_not_measured_again():
    def refuse(name: str, train: LabelledArrays) -> ColourSource:
        raise AssertionError("measured again")

    first = compare("hazelnut", [partition()], lambda *_: ColourSource(), TINY, synthetic_per_defect=4)
    assert compare("hazelnut", [partition()], refuse, TINY, synthetic_per_defect=4, done=first) == first
    other = TINY.model_copy(update=dict(steps=2))
    with pytest.raises(AssertionError, match="measured again"):
        compare("hazelnut", [partition()], refuse, other, synthetic_per_defect=4, done=first)


def test_generation_and_training_report_progress():
    seen: list[tuple[str, int, int]] = []
    compare(
        "hazelnut",
        [partition()],
        lambda *_: ColourSource(),
        TINY,
        synthetic_per_defect=2,
        progress=lambda *values: seen.append(values),
    )
    assert seen == [
        *[("P1, real, seed 0", step, 3) for step in (1, 2, 3)],
        ("P1, generate", 2, 4),
        ("P1, generate", 4, 4),
        *[("P1, real + synthetic, seed 0", step, 3) for step in (1, 2, 3)],
    ]


def test_test_images_in_the_training_set_are_refused():
    part = partition()
    with pytest.raises(DataError, match="P1: 6 images are in train and test, such as colour/crack/10000"):
        PartitionArrays("P1", part.train, part.train)
    renamed = LabelledArrays(
        part.train.images, part.train.labels, CLASSES, tuple(f"copy/{name}" for name in part.train.names)
    )
    with pytest.raises(DataError, match=r"training image \S+ is pixel for pixel the test image copy/"):
        PartitionArrays("P1", part.train, renamed)


def test_a_source_that_returns_test_images_is_refused():
    part = partition()

    class Cheat(ColourSource):
        def one(self, defect, seed):
            return super().one(defect, seed + 10_100)

    with pytest.raises(DataError, match="partition P1: training image colour/crack/10100 is pixel for pixel"):
        compare("hazelnut", [part], lambda *_: Cheat(), TINY, synthetic_per_defect=1)


def test_sources_that_do_not_fit_are_named():
    class OnlyCracks(ColourSource):
        defects = ("crack",)

    class Folder(ColourSource):
        def seeds(self, defect):
            return (3, 8)

    with pytest.raises(DataError, match="source of P1 cannot make hole; it makes crack"):
        compare("hazelnut", [partition()], lambda *_: OnlyCracks(), TINY)
    with pytest.raises(DataError, match=r"the source makes images of \(16, 16\), the real ones are \(32, 32\)"):
        compare("hazelnut", [partition()], lambda *_: ColourSource(16), TINY, synthetic_per_defect=1)
    with pytest.raises(ConfigError, match="synthetic_per_defect 3 is more than the 2 samples of 'crack'"):
        compare("hazelnut", [partition()], lambda *_: Folder(), TINY, synthetic_per_defect=3)
    folder = Folder()
    compare("hazelnut", [partition()], lambda *_: folder, TINY, synthetic_per_defect=2)
    assert folder.asked == [("crack", 3), ("crack", 8), ("hole", 3), ("hole", 8)]


def test_results_survive_json():
    original = result("real", [True, False, True], config=TINY.model_copy(update=dict(weights=Path("w.pth"))))
    assert BenchmarkResult.from_json(json.loads(json.dumps(original.to_json()))) == original
    with pytest.raises(ConfigError, match="accuracy"):
        BenchmarkResult.from_json(original.to_json() | {"accuracy": "high"})


def test_table_shows_accuracies_intervals_and_paired_differences():
    rows = [
        result("real", [True] * 4 + [False] * 6),
        result("real + synthetic", [True] * 9 + [False]),
        result("real", [True] * 6 + [False] * 4, part="P2"),
        result("real + synthetic", [True] * 5 + [False] * 5, part="P2"),
    ]
    lines = format_table(rows).splitlines()

    assert lines[0] == "### hazelnut"
    assert lines[2].startswith("| partition | seed | real | real + synthetic |")
    p1 = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert p1[:4] == ["P1", "0", "40.0 [16.8, 68.7]", "90.0 [59.6, 98.2]"]
    assert re.fullmatch(r"\+50\.0 \[\+20\.0, \+80\.0\] \(0\.062\)", p1[4])
    mean = [cell.strip() for cell in lines[6].strip("|").split("|")]
    assert mean[:4] == ["mean", "all", "50.0 ± 14.1", "70.0 ± 28.3"]
    assert mean[4].startswith("+20.0 [")
    assert "6 real for training, 2000 generated, 10 for the test" in lines[8]


def test_the_mean_counts_an_image_of_two_partitions_once():
    pair = [("real", [True] * 4 + [False] * 6), ("real + synthetic", [True] * 8 + [False] * 2)]
    rows = [result(arm, correct, part=part) for part in ("P1", "P2") for arm, correct in pair]
    lines = format_table(rows).splitlines()
    assert lines[4].split("|")[5].split("(")[0].strip() == lines[6].split("|")[5].strip()


def test_arms_tested_on_other_images_or_with_other_steps_are_not_compared():
    with pytest.raises(DataError, match="differ in their test images or steps"):
        format_table([result("real", [True] * 4), result("real + synthetic", [True] * 5)])
    with pytest.raises(DataError, match="differ in their test images or steps"):
        format_table([result("real", [True] * 4), result("real + synthetic", [True] * 4, steps=9)])


def test_unfinished_runs_show_as_gaps():
    table = format_table([result("real", [True] * 4), result("real + synthetic", [True] * 4, part="P2")])
    assert "| P1 | 0 | 100.0 [51.0, 100.0] | - | - |" in table
    with pytest.raises(DataError, match="no benchmark results"):
        format_table([])


def test_a_partition_is_read_with_its_masks(tmp_path):
    from defect_synth.data import layouts, partitions

    source = ColourSource()
    for defect in CLASSES:
        for i in range(9):
            sample = source.one(defect, i)
            for name, pixels in (
                (f"test/{defect}/{i:03d}.png", sample.image),
                (f"ground_truth/{defect}/{i:03d}_mask.png", sample.mask * 255),
            ):
                (tmp_path / "nut" / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "nut" / name)
    (tmp_path / "nut/train/good").mkdir(parents=True)
    Image.fromarray(source.one("hole", 50).image).save(tmp_path / "nut/train/good/000.png")
    table = layouts.index(tmp_path / "nut")

    part = load_partition(table, partitions.split(table, "P2", 0.4), SIZE)

    assert part.name == "P2"
    assert part.train.classes == CLASSES
    assert np.bincount(part.train.labels).tolist() == [3, 3]  # a third, validation part included
    assert np.bincount(part.test.labels).tolist() == [6, 6]
    for arrays in (part.train, part.test):
        for i, name in enumerate(arrays.names):
            assert CLASSES[arrays.labels[i]] in name
            expected = source.one(CLASSES[arrays.labels[i]], int(Path(name).stem))
            assert np.array_equal(arrays.images[i], expected.image)
            assert np.array_equal(arrays.masks[i], expected.mask)
