"""Does generated data help? Every arm on every partition, the same way, with intervals.

Test images never reach what is compared: a source is made from `(partition, train)`, and both real and generated
training images are checked against the test images, name by name and byte by byte.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from defect_synth.benchmark.classify import ClassifyConfig, LabelledArrays, train_and_score
from defect_synth.benchmark.report import REAL, BenchmarkResult
from defect_synth.benchmark.statistics import wilson_interval
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.store import load
from defect_synth.dataset import GOOD, FiniteSource
from defect_synth.errors import ConfigError, DataError
from defect_synth.samples import DefectSource, Pixels

REAL_AND_SYNTHETIC = "real + synthetic"
SYNTHETIC_PER_DEFECT = 1000  # the paper's number, Sec. 4.3
_CHUNK = 32  # samples asked for at a time

SourceFactory = Callable[[str, LabelledArrays], DefectSource]
"""Makes a source from a partition's name and its real training images; it is never shown a test image."""


@dataclass(frozen=True, eq=False)
class PartitionArrays:
    """One split of the real images.

    Attributes:
        name: Such as `P1`.
        train: The base set: what a source may learn from, and the real training images of every arm.
        test: Held-out images, for the score only.

    Raises:
        DataError: An image is in both.
    """

    name: str
    train: LabelledArrays
    test: LabelledArrays

    def __post_init__(self) -> None:
        shared = sorted(set(self.train.names) & set(self.test.names))
        if shared:
            raise DataError(f"partition {self.name}: {len(shared)} images are in train and test, such as {shared[0]}")
        _refuse_copies(self.name, self.train, self.test)


def load_partition(
    table: Table,
    partition: Partition,
    resolution: int,
    how: Literal["letterbox", "crop"] = "letterbox",
    *,
    defects: Sequence[str] | None = None,
) -> PartitionArrays:
    """Read the defect images of one partition.

    The base set trains, with its validation part, because a classifier here chooses nothing by it.

    Args:
        table: All images of the category.
        partition: From `partitions.split(table, "P1", ...)`.
        resolution: Side of the square images.
        how: How other aspects become square.
        defects: Which defects to tell apart; None: all.

    Raises:
        DataError: Files that cannot be read, or changed since the partition was made.
        UnknownDefectError: A defect that the category does not have.
    """
    classes = table.defects if defects is None else tuple(sorted(set(defects)))

    def read(*parts: Literal["base", "validation", "test"]) -> LabelledArrays:
        records = [(d, r) for d in classes for part in parts for r in partition.records(table, part, d)]
        arrays = load([record for _, record in records], resolution, how)
        labels = np.array([classes.index(defect) for defect, _ in records], dtype=np.int64)
        return LabelledArrays(arrays.images, labels, classes, arrays.names, arrays.masks)

    return PartitionArrays(partition.name, read("base", "validation"), read("test"))


def compare(
    category: str,
    partitions: Sequence[PartitionArrays],
    make_source: SourceFactory,
    config: ClassifyConfig | None = None,
    *,
    synthetic_per_defect: int = SYNTHETIC_PER_DEFECT,
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
    done: Iterable[BenchmarkResult] = (),
    on_result: Callable[[BenchmarkResult], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[BenchmarkResult]:
    """Train and score every arm on every partition.

    Args:
        category: Object category, for the record.
        partitions: Splits of the real images.
        make_source: Called once per partition with its name and training images.
        config: How the classifier is trained; None: the defaults.
        synthetic_per_defect: Generated images of each defect, with seeds 0, 1, ....
        seeds: Training seeds of the classifier; each arm runs with each.
        device: Where the classifier is trained.
        done: Results of an earlier run with the same settings: they are returned and not measured again.
        on_result: Called with each new result, so that it can be written at once.
        progress: Called with what is being done, steps done and steps in all.

    Returns:
        One result for each partition, seed and arm, in that order.

    Raises:
        DataError: An image is in train and test, or the source's images do not fit the real ones.
        ConfigError: Settings that cannot be trained, or fewer than `synthetic_per_defect` samples in a folder.
    """
    config = ClassifyConfig() if config is None else config
    known = {(r.category, r.partition, r.arm, r.seed): r for r in done if r.config == config}
    results: list[BenchmarkResult] = []
    for partition in partitions:
        arms: dict[str, SourceFactory | None] = {REAL: None, REAL_AND_SYNTHETIC: make_source}
        generated: dict[str, tuple[str, LabelledArrays]] = {}
        for seed in seeds:
            for arm, factory in arms.items():
                result = known.get((category, partition.name, arm, seed))
                if result is None:
                    what = f"{partition.name}, {arm}, seed {seed}"
                    if factory is not None and arm not in generated:
                        generated[arm] = _generate(partition, factory, synthetic_per_defect, progress)
                    source, synthetic = generated.get(arm, ("", None))
                    result = _measure(category, partition, arm, source, synthetic, config, seed, device, what, progress)
                    if on_result is not None:
                        on_result(result)
                results.append(result)
    return results


def _generate(
    partition: PartitionArrays, make_source: SourceFactory, per_defect: int, progress: Callable[..., None] | None
) -> tuple[str, LabelledArrays]:
    train = partition.train
    source = make_source(partition.name, train)
    missing = [name for name in train.classes if name not in source.defects and name != GOOD]
    if missing:
        raise DataError(
            f"the source of {partition.name} cannot make {', '.join(missing)}; it makes {', '.join(source.defects)}"
        )
    wanted = [(name, seeds) for name in train.classes if name != GOOD for seeds in [_seeds(source, name, per_defect)]]
    samples, total = [], sum(len(seeds) for _, seeds in wanted)
    for name, seeds in wanted:
        for start in range(0, len(seeds), _CHUNK):
            samples += source.sample(name, seeds[start : start + _CHUNK])
            if progress is not None:
                progress(f"{partition.name}, generate", len(samples), total)
    synthetic = LabelledArrays.from_samples(samples, train.classes)
    if synthetic.size != train.size:
        raise DataError(
            f"the source makes images of {synthetic.size}, the real ones are {train.size}; load those at its resolution"
        )
    _refuse_copies(partition.name, synthetic, partition.test)
    digest = str(getattr(source, "digest", ""))
    return f"{type(source).__name__} {digest}".rstrip(), synthetic


def _seeds(source: DefectSource, defect: str, count: int) -> Sequence[int]:
    if not isinstance(source, FiniteSource):
        return range(count)
    known = source.seeds(defect)
    if len(known) < count:
        raise ConfigError(f"synthetic_per_defect {count} is more than the {len(known)} samples of {defect!r}")
    return known[:count]


def _measure(
    category: str,
    partition: PartitionArrays,
    arm: str,
    source: str,
    synthetic: LabelledArrays | None,
    config: ClassifyConfig,
    seed: int,
    device: str,
    what: str,
    progress: Callable[[str, int, int], None] | None,
) -> BenchmarkResult:
    test = partition.test
    score = train_and_score(
        partition.train,
        test,
        config,
        seed,
        synthetic=synthetic,
        device=device,
        progress=None if progress is None else lambda step, steps, _: progress(what, step, steps),
    )
    return BenchmarkResult(
        category=category,
        partition=partition.name,
        arm=arm,
        seed=seed,
        accuracy=score.accuracy,
        interval=wilson_interval(round(score.accuracy * len(test)), len(test)),
        recall=score.recall,
        confusion=tuple(tuple(row) for row in score.confusion.tolist()),
        classes=test.classes,
        test_names=test.names,
        labels=tuple(test.labels.tolist()),
        predictions=tuple(score.predictions.tolist()),
        num_train=len(partition.train),
        num_synthetic=0 if synthetic is None else len(synthetic),
        num_test=len(test),
        source=source,
        config=config,
        weights="" if config.weights is None else hashlib.sha256(config.weights.read_bytes()).hexdigest(),
        steps=score.steps,
        seconds=score.seconds,
        versions=_versions(),
        device=device,
        threads=torch.get_num_threads(),
        machine=platform.machine(),
    )


def _versions() -> dict[str, str]:
    from defect_synth import __version__

    packages = {name: importlib.metadata.version(name) for name in ("torch", "timm", "numpy")}
    return {"defect-synth": __version__, "python": platform.python_version(), **packages}


def _refuse_copies(partition: str, training: LabelledArrays, test: LabelledArrays) -> None:
    """A test image among the training images, under whatever name, would make the score worthless."""
    held_out = {_fingerprint(image): name for image, name in zip(test.images, test.names, strict=True)}
    for image, name in zip(training.images, training.names, strict=True):
        copy = held_out.get(_fingerprint(image))
        if copy is not None:
            raise DataError(f"partition {partition}: training image {name} is pixel for pixel the test image {copy}")


def _fingerprint(image: Pixels) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()
