"""Results of a benchmark that was never run: three arms, two partitions, one picture."""

from __future__ import annotations

from pathlib import Path

from defect_synth.benchmark.comparisons import compare_arms
from defect_synth.benchmark.protocol import load_protocol
from defect_synth.benchmark.report.gallery import write_gallery
from defect_synth.benchmark.report.report import write_report
from defect_synth.benchmark.results import (
    ArmRecord,
    BenchmarkResults,
    Environment,
    GalleryRecord,
    GeneratorRecord,
    ProductRecord,
)
from defect_synth.benchmark.statistics import wilson_interval
from defect_synth.benchmark.task_results import ClassificationResult
from tests.benchmark.squares import squares

ARMS = ("real", "real + standard augmentation", "real + <DFMGAN>")
RIGHT = {"real": 20, "real + standard augmentation": 36, "real + <DFMGAN>": 22}


def classification_result(
    arm: str, right: int, partition: str = "P1", seed: int = 0, **changes
) -> ClassificationResult:
    """Answers of a classifier, of which the first `right` are correct."""
    labels = tuple(i % 2 for i in range(40))
    answers = tuple(label if i < right else 1 - label for i, label in enumerate(labels))
    values = dict(
        category="hazelnut", partition=partition, arm=arm, ratio=None if arm == "real" else 1.0, seed=seed, source="",
        synthetic_digest="", num_train=6, num_validation=2, num_synthetic=0 if arm == "real" else 20,
        num_distinct=0 if arm == "real" else 19, num_test=40, steps=10,
        test_names=tuple(f"test/{i}.png" for i in range(40)), seconds=1.0, seconds_of_source=2.0, accuracy=right / 40,
        interval=wilson_interval(right, 40), macro_f1=right / 40, recall={"cut": 0.5, "hole": None},
        confusion=((10, 10), (5, 15)), calibration_error=0.1, classes=("cut", "hole"),
        choice=(0.001, 10, 0.5, 0.5, 0.7), curve=((0.001, 5, 1.0, 0.4, 0.9), (0.001, 10, 0.5, 0.5, 0.7)), labels=labels,
        predictions=answers, probabilities=tuple((0.5, 0.5) for _ in range(40)),
    )  # fmt: skip
    return ClassificationResult(**(values | changes))


def results_of(cells, gallery=()) -> BenchmarkResults:
    """A benchmark with these results and pictures."""
    return BenchmarkResults(
        protocol=load_protocol("quick").model_dump(mode="json"), weights="",
        environment=Environment(versions={"torch": "2"}, device="cpu", hardware="a & b", cores=2,
                                threads=2, system="x"),
        products=(ProductRecord(category="hazelnut", procedural=True, about="the embedded product", resolution=64,
                                good=5, defects={"cut": 9}),),
        generators=(GeneratorRecord(category="hazelnut", partition="P1", generator="DFMGAN", how="trained",
                                    digest="abcdef0123456789", about="trained here", seconds=5),),
        arms=tuple(ArmRecord(name=arm, about="x", missing={"hazelnut P1": "no time"} if arm == "late" else {})
                   for arm in (*ARMS, "late")),
        classification=tuple(cells), segmentation=(), thresholds=(),
        comparisons=tuple(compare_arms(list(cells), "classification")), gallery=tuple(gallery), notes=(), seconds=60,
    )  # fmt: skip


def write_example(folder: Path) -> BenchmarkResults:
    """Write a report of the example into a folder."""
    shown = write_gallery(squares(12, 0, "synthetic"), squares(9, 1, "base"), folder / "gallery" / "a.png")
    record = GalleryRecord(category="hazelnut", partition="P1", arm=ARMS[2], file="gallery/a.png", **shown._asdict())
    cells = [classification_result(arm, right, partition) for partition in ("P1", "P2") for arm, right in RIGHT.items()]
    cells += [classification_result(ARMS[2], 24, partition, ratio=3.0) for partition in ("P1", "P2")]
    results = results_of(cells, [record])
    write_report(results, folder)
    return results
