"""One cell: an arm on a partition with a seed, trained, scored on the test images once, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.baselines.anomaly_source import ANY_DEFECT
from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.composed import DoesNotFitError
from defect_synth.benchmark.context import ArmNotPossible, PartitionContext, seeds_of
from defect_synth.benchmark.labelled import LabelledArrays, class_less
from defect_synth.benchmark.results import ClassificationCell, ProbeCell, SegmentationCell, ThresholdCell, ThresholdRule
from defect_synth.benchmark.statistics import wilson_interval
from defect_synth.benchmark.tasks.batches import Diet
from defect_synth.benchmark.tasks.classify import ClassifyConfig, train_classifier
from defect_synth.benchmark.tasks.probe import ProbeConfig, features_of, real_views, train_probe
from defect_synth.benchmark.tasks.scores import score
from defect_synth.benchmark.tasks.segment import SegmentConfig, train_segmenter
from defect_synth.benchmark.tasks.segmentation_scores import segmentation_scores
from defect_synth.benchmark.tasks.threshold import ABOUT, Detector, auroc, best_threshold, f1_at
from defect_synth.data.store import ImageArrays
from defect_synth.datasets.defect_dataset import GOOD
from defect_synth.errors import DataError
from defect_synth.metrics.features import FeatureExtractor

_CHUNK = 32  # samples asked for at a time
Tick = Callable[[float, float], None]


@dataclass(frozen=True, eq=False)
class Pool:
    """The generated images of an arm; none for an arm without.

    Attributes:
        arrays: Images with labels and masks, or None.
        source: Class and digest of what made them.
        seconds: Wall time of making the source and drawing them.
    """

    arrays: LabelledArrays | None
    source: str = ""
    seconds: float = 0.0


def draw_pool(arm: Arm, context: PartitionContext, per_defect: int, tick: Tick) -> Pool:
    """Make the source of an arm and draw its images, with seeds 0, 1, ....

    Raises:
        ArmNotPossible: Why not.
        DataError: The source cannot make a defect, or makes another size.
    """
    started = time.perf_counter()
    source = arm.source(context)
    if source is None:
        return Pool(None)
    classes, count = context.base.classes, per_defect
    if not arm.labelled:  # as many images as the other arms have
        classes, count = (ANY_DEFECT,), per_defect * len(context.defects)
    missing = [name for name in (context.defects if arm.labelled else classes) if name not in source.defects]
    if missing:
        raise DataError(
            f"the source of {arm.name!r} cannot make {', '.join(missing)}; it makes {', '.join(source.defects)}"
        )
    # Good images only where the source changes real ones of them.
    wanted = {name: seeds_of(source, name, count) for name in classes if name in source.defects}
    samples, total = [], sum(len(seeds) for seeds in wanted.values())
    for name, seeds in wanted.items():
        for start in range(0, len(seeds), _CHUNK):
            try:
                samples += source.sample(name, seeds[start : start + _CHUNK])
            except DoesNotFitError as error:
                raise ArmNotPossible(str(error)) from error
            tick(len(samples), total)
    arrays = LabelledArrays.from_samples(samples, classes)
    if arrays.size != context.base.size:
        raise DataError(
            f"the source of {arm.name!r} makes images of {arrays.size}, the real ones are {context.base.size}; "
            "choose the preset with the source's resolution"
        )
    digest = str(getattr(source, "digest", ""))
    return Pool(arrays, f"{type(source).__name__} {digest}".rstrip(), time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class Task:
    """What the cells of one arm and partition have in common.

    Attributes:
        context: What may be learnt from.
        test: Real test images, with masks.
        test_good: Defect-free test images, or None.
        arm: The arm.
        pool: Its generated images.
        ratio: Generated images per real one in a batch.
        device: Where to train.
    """

    context: PartitionContext
    test: LabelledArrays
    test_good: ImageArrays | None
    arm: Arm
    pool: Pool
    ratio: float
    device: str

    @property
    def diet(self) -> Diet:
        """What the arm's networks are fed."""
        share = self.ratio / (1 + self.ratio) if self.arm.mixes else self.arm.share
        real = self.context.base if self.arm.labelled else class_less(self.context.base)
        return Diet(real, self.pool.arrays, share, self.arm.sampling)

    def described(self, seed: int, steps: int, seconds: float) -> dict[str, object]:
        """The fields that every cell has."""
        arrays, validation = self.pool.arrays, self.context.validation
        return dict(
            category=self.context.category, partition=self.context.partition, arm=self.arm.name,
            ratio=self.ratio if self.arm.mixes else None, seed=seed, source=self.pool.source,
            synthetic_digest="" if arrays is None else arrays.digest,
            num_train=len(self.context.base), num_validation=0 if validation is None else len(validation),
            num_synthetic=0 if arrays is None else len(arrays), num_distinct=0 if arrays is None else arrays.distinct,
            steps=steps, seconds=seconds, seconds_of_source=self.pool.seconds,
        )  # fmt: skip


def classify_cell(task: Task, config: ClassifyConfig, seed: int, tick: Tick) -> ClassificationCell:
    """Train a classifier and let it answer for the test images."""
    trained = train_classifier(
        task.diet, task.context.validation, config, seed, device=task.device,
        progress=lambda done, total, _: tick(done, total),
    )  # fmt: skip
    test = task.test
    probabilities = trained.probabilities(test.images)
    scores = score(test.labels, probabilities, test.classes)
    return ClassificationCell(
        **task.described(seed, trained.steps, trained.seconds),
        num_test=len(test), test_names=test.names,
        accuracy=scores.accuracy, interval=wilson_interval(int(np.trace(scores.confusion)), len(test)),
        macro_f1=scores.macro_f1, recall=scores.recall,
        confusion=tuple(tuple(row) for row in scores.confusion.tolist()), calibration_error=scores.calibration_error,
        classes=test.classes, choice=trained.choice, curve=trained.curve,
        labels=tuple(test.labels.tolist()), predictions=tuple(scores.predictions.tolist()),
        probabilities=tuple(tuple(round(p, 4) for p in row) for row in probabilities.tolist()),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Probed:
    """What the probes of one partition share: the frozen network and the features of the real images.

    Attributes:
        network: The network.
        real: Features and labels of the base images in every orientation.
        test: Features of the test images.
    """

    network: FeatureExtractor
    real: tuple[Tensor, NDArray[np.int64]]
    test: Tensor

    @classmethod
    def of(
        cls, context: PartitionContext, test: LabelledArrays, network: FeatureExtractor, like: ClassifyConfig
    ) -> Probed:
        """Look at the real images once; orientations as the classifier's training has them."""
        images, labels = real_views(context.base, flip=like.flip, rotate90=like.rotate90)
        return cls(network, (features_of(network, images), labels), features_of(network, test.images))


def probe_cell(task: Task, config: ProbeConfig, probed: Probed, tick: Tick) -> ProbeCell:
    """Train a linear probe and let it answer for the test images."""
    started = time.perf_counter()
    made = task.pool.arrays
    synthetic = None if made is None else features_of(probed.network, made.images, tick)
    probe = train_probe(task.diet, probed.real, synthetic, config)
    test = task.test
    scores = score(test.labels, probe.probabilities(probed.test), test.classes)
    return ProbeCell(
        **task.described(0, 0, time.perf_counter() - started),
        num_test=len(test), test_names=test.names, network=probed.network.name,
        accuracy=scores.accuracy, interval=wilson_interval(int(np.trace(scores.confusion)), len(test)),
        macro_f1=scores.macro_f1, recall=scores.recall, classes=test.classes,
        labels=tuple(test.labels.tolist()), predictions=tuple(scores.predictions.tolist()),
    )  # fmt: skip


def segment_cell(task: Task, config: SegmentConfig, seed: int, tick: Tick) -> SegmentationCell:
    """Train a U-Net and let it mark the defects of the test images; good test images count, too."""
    diet = task.diet
    trained = train_segmenter(
        _defects_only(diet), task.context.good.images, task.context.validation, config, seed, device=task.device,
        progress=lambda done, total, _: tick(done, total),
    )  # fmt: skip
    test = task.test
    assert test.masks is not None
    chosen = np.flatnonzero(test.masks.any((1, 2)))
    images, masks = test.images[chosen], test.masks[chosen]
    if task.test_good is not None:
        images = np.concatenate([images, task.test_good.images])
        masks = np.concatenate([masks, task.test_good.masks])
    scores = segmentation_scores(trained.maps(images), masks, trained.threshold)
    return SegmentationCell(
        **task.described(seed, config.steps, trained.seconds),
        num_test=len(images), test_names=tuple(test.names[i] for i in chosen), threshold=trained.threshold,
        average_precision=scores.average_precision, f1=scores.f1, iou=scores.iou, best_f1=scores.best_f1,
        pro=scores.pro, per_image=tuple(round(value, 6) for value in scores.per_image),
    )  # fmt: skip


def threshold_cell(
    context: PartitionContext, test: LabelledArrays, test_good: ImageArrays, pools: dict[str, LabelledArrays]
) -> ThresholdCell:
    """One detector, its threshold set by held-out good images with synthetic, real or test defects.

    Args:
        context: What may be learnt from.
        test: Real test images.
        test_good: Defect-free test images.
        pools: Arm -> its generated images.
    """
    started = time.perf_counter()
    held = context.good_validation
    assert held is not None
    detector = Detector(context.good.images)
    kept = detector.scores(held.images)
    defective = np.flatnonzero([test.classes[label] != GOOD for label in test.labels])
    good, bad = detector.scores(test_good.images), detector.scores(test.images[defective])
    rules = []
    for name, arrays in pools.items():
        threshold = best_threshold(kept, detector.scores(arrays.images)).threshold
        rules.append((f"synthetic defects: {name}", threshold, len(arrays)))
    if context.validation is not None:
        real = context.validation.images[[context.validation.classes[i] != GOOD for i in context.validation.labels]]
        if len(real):
            threshold = best_threshold(kept, detector.scores(real)).threshold
            rules.append(("the few real validation defects", threshold, len(real)))
    rules.append(("highest score of held-out good images", float(np.nextafter(kept.max(), np.float32(np.inf))), 0))
    rules.append(("oracle: the test images themselves", best_threshold(good, bad).threshold, len(bad)))
    return ThresholdCell(
        category=context.category, partition=context.partition, detector=ABOUT, auroc=auroc(good, bad),
        rules=tuple(
            ThresholdRule(rule=rule, threshold=round(cut, 6), f1=f1_at(cut, good, bad), num_defects=count)
            for rule, cut, count in rules
        ),
        test_names=(*test_good.names, *(test.names[i] for i in defective)),
        is_defect=(*(False for _ in good), *(True for _ in bad)),
        scores=tuple(round(float(value), 5) for value in (*good, *bad)),
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _defects_only(diet: Diet) -> Diet:
    """The U-Net gets its good images apart."""
    return Diet(_without_good(diet.real), None if diet.synthetic is None else _without_good(diet.synthetic),
                diet.share, diet.sampling)  # fmt: skip


def _without_good(arrays: LabelledArrays) -> LabelledArrays:
    if GOOD not in arrays.classes:
        return arrays
    classes = tuple(name for name in arrays.classes if name != GOOD)
    chosen = np.flatnonzero(arrays.labels != arrays.classes.index(GOOD))
    labels = np.array([classes.index(arrays.classes[arrays.labels[i]]) for i in chosen], dtype=np.int64)
    masks = None if arrays.masks is None else arrays.masks[chosen]
    return LabelledArrays(arrays.images[chosen], labels, classes, tuple(arrays.names[i] for i in chosen), masks)
