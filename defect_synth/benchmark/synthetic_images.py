"""The generated images of an arm, drawn from its source."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from defect_synth.baselines.anomaly_source import ANY_DEFECT
from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.context import ArmNotPossible, PartitionContext, seeds_of
from defect_synth.benchmark.labelled import LabelledArrays, refuse_copies
from defect_synth.benchmark.progress import OverallProgress, StepCallback
from defect_synth.benchmark.sources import DefectDoesNotFitError
from defect_synth.errors import DataError

_CHUNK = 32  # samples drawn at a time
LENGTH = 0.3
"""Estimated time of drawing the images of an arm, in classifier trainings."""


@dataclass(frozen=True, eq=False)
class SyntheticImages:
    """The generated images of an arm.

    Attributes:
        arrays: Images with labels and masks; None if the arm has none.
        source: Class and digest of the source; empty if there is none.
        seconds: Wall time of making the source and drawing the images.
    """

    arrays: LabelledArrays | None
    source: str = ""
    seconds: float = 0.0


class ImageDrawer:
    """Draws the images of one arm after another; only those of the last arm are kept in memory.

    Args:
        context: What the sources may learn from.
        test: Test images; a source that returns one of them is refused.
        per_defect: Images of each defect.
        progress: Where progress is reported.
    """

    def __init__(
        self, context: PartitionContext, test: LabelledArrays, per_defect: int, progress: OverallProgress
    ) -> None:
        self._context, self._test, self._per_defect, self._progress = context, test, per_defect, progress
        self._last: tuple[Arm, SyntheticImages] | None = None

    def has_drawn(self, arm: Arm) -> bool:
        """Whether the images in memory are those of this arm."""
        return self._last is not None and self._last[0] is arm

    def images_of(self, arm: Arm) -> SyntheticImages:
        """The images of an arm, drawn when they are first asked for.

        An arm with the same source as the previous one has the same images, which take no time.

        Raises:
            ArmNotPossible: The source cannot be made on this partition.
            DataError: The source lacks a defect, makes images of another size, or returns a test image.
        """
        if self._last is None or self._last[0].source is not arm.source:
            progress = self._progress.part(f"{self._context.partition}: draw images for {arm.name}", LENGTH)
            images = _draw(arm, self._context, self._per_defect, progress)
            if images.arrays is not None:
                refuse_copies(self._context.partition, images.arrays, self._test)
            self._last = arm, images
        elif self._last[0] is not arm:
            self._last = arm, replace(self._last[1], seconds=0.0)
        return self._last[1]


def _draw(arm: Arm, context: PartitionContext, per_defect: int, progress: StepCallback) -> SyntheticImages:
    """Make the source of an arm and draw its images, with seeds 0, 1, 2, and so on."""
    started = time.perf_counter()
    source = arm.source(context)
    if source is None:
        return SyntheticImages(None)
    classes, count = context.base.classes, per_defect
    if not arm.labelled:  # as many images as the other arms have
        classes, count = (ANY_DEFECT,), per_defect * len(context.defects)
    missing = [name for name in (context.defects if arm.labelled else classes) if name not in source.defects]
    if missing:
        raise DataError(
            f"the source of {arm.name!r} cannot make {', '.join(missing)}; it makes {', '.join(source.defects)}"
        )
    # The class of good images is generated only by sources that transform real images.
    seeds = {name: seeds_of(source, name, count) for name in classes if name in source.defects}
    samples, total = [], sum(map(len, seeds.values()))
    for name, wanted in seeds.items():
        for start in range(0, len(wanted), _CHUNK):
            try:
                samples += source.sample(name, wanted[start : start + _CHUNK])
            except DefectDoesNotFitError as error:
                raise ArmNotPossible(str(error)) from error
            progress(len(samples), total)
    arrays = LabelledArrays.from_samples(samples, classes)
    if arrays.size != context.base.size:
        raise DataError(
            f"the source of {arm.name!r} makes images of {arrays.size}, the real ones are {context.base.size}; "
            "choose the preset with the source's resolution"
        )
    return SyntheticImages(arrays, f"{type(source).__name__} {source.digest}", time.perf_counter() - started)
