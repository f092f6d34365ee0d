"""What the benchmark measured: one record per run, as JSON and as a Markdown table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from defect_synth.benchmark.classify import ClassifyConfig
from defect_synth.benchmark.statistics import (
    Interval,
    PairedDifference,
    mcnemar_exact,
    mean_over_partitions,
    paired_difference,
)
from defect_synth.config import validated
from defect_synth.errors import DataError

REAL = "real"
"""Name of the arm that every other one is compared to."""

_BOOTSTRAP_SEED = 0


class BenchmarkResult(BaseModel):
    """One arm on one partition with one training seed: what was measured, and all that is needed to measure it again.

    Attributes:
        category: Object category.
        partition: Name of the partition.
        arm: Name of the arm.
        seed: Seed of the classifier.
        accuracy: Share of right answers on the test images.
        interval: 95 % Wilson interval of `accuracy`.
        recall: Class -> share recognised; None where the test set has none.
        confusion: Rows are the truth, columns the answers.
        classes: Names of the labels.
        test_names: Names of the test images.
        labels: Their true labels.
        predictions: The answers.
        num_train: Real training images.
        num_synthetic: Generated training images.
        num_test: Test images.
        source: What generated them: class and digest; empty for the arm without.
        config: How the classifier was trained.
        weights: SHA-256 of the classifier's initial weights file; empty from scratch.
        steps: Optimiser steps.
        seconds: Wall time of training.
        versions: Of Python and the packages that matter.
        device: Where it ran.
        threads: CPU threads that torch used.
        machine: Processor architecture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    partition: str
    arm: str
    seed: int
    accuracy: float
    interval: Interval
    recall: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    test_names: tuple[str, ...]
    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    num_train: int
    num_synthetic: int
    num_test: int
    source: str
    config: ClassifyConfig
    weights: str
    steps: int
    seconds: float
    versions: dict[str, str]
    device: str
    threads: int
    machine: str

    @property
    def correct(self) -> list[bool]:
        """Whether each answer is right."""
        return [answer == label for answer, label in zip(self.predictions, self.labels, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> BenchmarkResult:
        """The inverse of `to_json`.

        Raises:
            ConfigError: Names what is wrong.
        """
        return validated(cls, values)


def format_table(results: Sequence[BenchmarkResult]) -> str:
    """Results as a Markdown table: accuracies with intervals, paired differences to the real arm, and their mean."""
    if not results:
        raise DataError("no benchmark results to show")
    blocks = []
    for category in dict.fromkeys(result.category for result in results):
        blocks.append(_format_category(category, [result for result in results if result.category == category]))
    return "\n\n".join(blocks) + "\n"


def _format_category(category: str, results: list[BenchmarkResult]) -> str:
    arms = list(dict.fromkeys(result.arm for result in results))
    cells = {(r.partition, r.seed, r.arm): r for r in results}
    runs = list(dict.fromkeys((r.partition, r.seed) for r in results))
    others = [arm for arm in arms if arm != REAL]

    header = ["partition", "seed", *arms, *(f"{arm}, difference (McNemar p)" for arm in others)]
    rows = [header, ["---"] * 2 + ["---:"] * (len(header) - 2)]
    for partition, seed in runs:
        found = {arm: cells[partition, seed, arm] for arm in arms if (partition, seed, arm) in cells}
        row = [partition, str(seed), *(_accuracy(found[arm]) if arm in found else "-" for arm in arms)]
        for arm in others:
            if REAL in found and arm in found:
                paired = _paired([(found[REAL], found[arm])])
                p_value = mcnemar_exact(paired.only_a, paired.only_b)
                row.append(f"{_difference(paired)} ({p_value:.3f})")
            else:
                row.append("-")
        rows.append(row)

    last = ["mean", "all"]
    for arm in arms:
        by_partition: dict[str, list[float]] = defaultdict(list)
        for result in results:
            if result.arm == arm:
                by_partition[result.partition].append(result.accuracy)
        mean = mean_over_partitions([sum(values) / len(values) for values in by_partition.values()])
        last.append(f"{100 * mean.mean:.1f}" + ("" if mean.std is None else f" ± {100 * mean.std:.1f}"))
    for arm in others:
        pairs = [
            (cells[(*run, REAL)], cells[(*run, arm)]) for run in runs if (*run, REAL) in cells and (*run, arm) in cells
        ]
        last.append(_difference(_paired(pairs)) if pairs else "-")
    rows.append(last)

    config, steps = results[0].config, results[0].steps
    start = "from scratch" if config.weights is None else f"starting from {config.weights.name}"
    note = (
        f"Accuracy in % [95 % Wilson interval]; difference in points to `{REAL}` on the same test images [95 % "
        "bootstrap interval over images]; mean ± standard deviation over partitions. "
        f"{config.architecture} {start}, {steps} steps of {config.batch} images in every arm, last step scored. "
        f"Images per partition: {_range([r.num_train for r in results])} real for training, "
        f"{max(r.num_synthetic for r in results)} generated, {_range([r.num_test for r in results])} for the test."
    )
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"### {category}\n\n{table}\n\n{note}"


def _paired(pairs: Sequence[tuple[BenchmarkResult, BenchmarkResult]]) -> PairedDifference:
    """Over all answers of the pairs; an image that several partitions or seeds test is resampled as one."""
    for a, b in pairs:
        if a.test_names != b.test_names or a.steps != b.steps:
            raise DataError(
                f"{a.partition}, seed {a.seed}: {a.arm!r} and {b.arm!r} differ in their test images or steps; "
                "measure both again"
            )
    return paired_difference(
        [answer for a, _ in pairs for answer in a.correct],
        [answer for _, b in pairs for answer in b.correct],
        images=[name for a, _ in pairs for name in a.test_names],
        seed=_BOOTSTRAP_SEED,
    )


def _accuracy(result: BenchmarkResult) -> str:
    return f"{100 * result.accuracy:.1f} [{100 * result.interval.low:.1f}, {100 * result.interval.high:.1f}]"


def _difference(paired: PairedDifference) -> str:
    return f"{100 * paired.difference:+.1f} [{100 * paired.low:+.1f}, {100 * paired.high:+.1f}]"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
