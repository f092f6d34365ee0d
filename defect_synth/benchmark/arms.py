"""The arms: what each classifier is fed. One entry each; a new way to make defects is compared by adding its entry.

Every arm has the same classifier, transforms, optimiser steps and images per step. An arm whose source cannot be made
raises `ArmNotPossible`, and the report says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from defect_synth.baselines.crop_paste import CropPaste
from defect_synth.benchmark.composed import Alternating, Fitted, OnGoodImages
from defect_synth.benchmark.context import ArmNotPossible, PartitionContext
from defect_synth.benchmark.tasks.batches import Sampling
from defect_synth.demo.hazelnut import DemoSource
from defect_synth.errors import ConfigError, DataError
from defect_synth.painter.painter_base import PAINTING_VERSION
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: In tables and on the command line.
        about: One line for the report.
        source: Makes the generated images from what a partition may learn from; None: there are none.
        share: Share of each batch that is generated. 1: nothing else; else the ratio of the protocol takes its place.
        sampling: Labels of a batch: as frequent as among the real images, or all equally likely.
        labelled: Whether each generated image is of a known defect category.
        masks: What the masks of generated images are: `exact`, `weak` (a soft map of the system, cut) or `none`.
        system: Its name in the paper's Tables 1 and 2, which show the arms that have one.
        way: Of making its images: cells of another one are measured again.
    """

    name: str
    about: str
    source: Callable[[PartitionContext], DefectSource | None]
    share: float = 0.5
    sampling: Sampling = "proportional"
    labelled: bool = True
    masks: Literal["exact", "weak", "none"] = "exact"
    system: str = ""
    way: int = 0

    @property
    def mixes(self) -> bool:
        """Whether real and generated images meet in a batch, so that their ratio can be swept."""
        return 0 < self.share < 1

    @property
    def absent(self) -> dict[str, str]:
        """Task -> why this arm cannot be in it, whatever the data."""
        reasons = {}
        if not self.labelled:
            reasons["classification"] = "its defects are of no category, so no classifier of defects can learn from it"
        if self.masks == "none":
            reasons["segmentation"] = "its images have no masks"
        return reasons


def _nothing(context: PartitionContext) -> None:
    return None


def _class_balanced(context: PartitionContext) -> None:
    counts = np.bincount(context.base.labels)
    if len(set(counts.tolist())) == 1:
        raise ArmNotPossible(f"all classes have {counts[0]} base images: it would equal the arm 'real'")


def _standard_augmentation(context: PartitionContext) -> DefectSource:
    from defect_synth.benchmark.standard_augmentation import StandardAugmentation

    pool = {defect: context.of(defect) for defect in context.base.classes}
    return StandardAugmentation(context.category, pool)


def _crop_paste(context: PartitionContext) -> DefectSource:
    return CropPaste(context.category, {d: context.of(d) for d in context.defects}, context.good.images)


def _dfmgan(context: PartitionContext) -> DefectSource:
    return context.dfmgan()


def _painter(context: PartitionContext) -> DefectSource:
    return context.painter()


def _careful_paste(context: PartitionContext) -> DefectSource:
    """Real base defects, moved, turned and blended onto the object of good images."""
    from defect_synth.compositor.bank import bank_from_samples

    cut = [
        DefectSample(image, mask, defect, Provenance("real", context.category, defect, i))
        for defect in context.defects
        for i, (image, mask) in enumerate(context.in_full(defect))
        if mask.any()
    ]
    bank = bank_from_samples(context.category, cut)
    source = _augmented("careful_crop_paste", context, bank, context.good_in_full, scale=(0.8, 1.25))
    return Fitted(source, context.resolution, context.how)


def _transform(context: PartitionContext) -> DefectSource:
    """What the package's transform does: DFMGAN's defects on good images."""
    try:
        return _augmented("dfmgan_on_good_images", context, context.dfmgan(), list(context.good.images), scale=1.0)
    except DataError as error:  # not one generated defect passed the gates
        raise ArmNotPossible(str(error)) from error


def _augmented(
    method: str, context: PartitionContext, source: DefectSource, good: Sequence[Pixels],
    scale: float | tuple[float, float],
) -> DefectSource:  # fmt: skip
    from defect_synth.augment import DefectAugmenter

    each = {d: DefectAugmenter(source, defects=(d,), severity=(0.8, 1.1), scale=scale) for d in context.defects}

    def put(image: Pixels, defect: str, rng: np.random.Generator) -> DefectSample:
        return each[defect](image, rng)

    digest = next(iter(each.values())).digest
    return OnGoodImages(method, context.category, context.defects, good, put, digest)


def _paste_and_painter(context: PartitionContext) -> DefectSource:
    return Alternating((_careful_paste(context), context.painter()))


def _trained(name: str) -> Callable[[PartitionContext], DefectSource]:
    return lambda context: context.system(name)


def _cutout(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.cutout import Cutout

    return Cutout(context.category, context.good.images)


def _cutpaste(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.cutpaste import CutPaste

    return CutPaste(context.category, context.good.images)


def _scars(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.cutpaste import CutPaste

    return CutPaste(context.category, context.good.images, "scar")


def _perlin(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.perlin import Perlin

    return Perlin(context.category, context.good.images, context.textures)


def _positive_control(context: PartitionContext) -> DefectSource:
    if not context.procedural:
        raise ArmNotPossible("only of the embedded product can new real images be had at will")
    return DemoSource(context.resolution)


REAL = "real"
STANDARD = "real + standard augmentation"

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(REAL, "Real base images alone: the arm to beat.", _nothing, share=0),
        Arm(STANDARD, "Real images, half of them through an albumentations pipeline.", _standard_augmentation),
        Arm("real class-balanced", "Real images alone, all classes equally often.", _class_balanced,
            share=0, sampling="balanced"),
        Arm("real + Crop&Paste", "The paper's Crop&Paste: N_g x N_d images, placed wherever the defect was.",
            _crop_paste),
        Arm("Crop&Paste only", "The paper's Crop&Paste, nothing but its images, as in the paper's Table 2.",
            _crop_paste, share=1, sampling="balanced", system="Crop&Paste"),
        Arm("real + careful paste", "Real defects moved, turned and blended onto the object of good images.",
            _careful_paste),
        Arm("DFMGAN only", "The paper's protocol (Sec. 4.3): nothing but generated images.", _dfmgan,
            share=1, sampling="balanced", system="DFMGAN"),
        Arm("real + DFMGAN", "Real images and as many drawn by DFMGAN.", _dfmgan),
        Arm("Finetune only", "StyleGAN2 of good images, all of it trained on with the images of one defect.",
            _trained("Finetune"), share=1, sampling="balanced", masks="none", system="Finetune"),
        Arm("DiffAug only", "StyleGAN2 from scratch on the images of one defect, with differentiable augmentation.",
            _trained("DiffAug"), share=1, sampling="balanced", masks="none", system="DiffAug"),
        Arm("CDC only", "Few-shot adaptation that keeps the distances between samples of the good images' network.",
            _trained("CDC"), share=1, sampling="balanced", masks="none", system="CDC"),
        Arm("SDGAN only", "Translation of good images to defect images in a cycle.",
            _trained("SDGAN"), share=1, sampling="balanced", masks="none", system="SDGAN"),
        Arm("Defect-GAN only", "Defacement and restoration of good images; its soft map, cut, is a weak mask.",
            _trained("Defect-GAN"), share=1, sampling="balanced", masks="weak", system="Defect-GAN"),
        Arm("painter only", "Nothing but good images on which the painter put a defect.", _painter,
            share=1, sampling="balanced", system="painter", way=PAINTING_VERSION),
        Arm("real + painter", "Real images and as many good ones on which the painter put a defect.", _painter,
            way=PAINTING_VERSION),
        Arm("real + DFMGAN transform", "Real images and as many good ones with a defect of DFMGAN blended in.",
            _transform),
        Arm("real + paste + painter", "Careful paste and painter in turn.", _paste_and_painter, way=PAINTING_VERSION),
        Arm("real + Cutout", "Real images and good ones with a black square.", _cutout, labelled=False),
        Arm("real + CutPaste", "Real images and good ones with a patch of themselves elsewhere.", _cutpaste,
            labelled=False),
        Arm("real + CutPaste scar", "The same with thin turned patches.", _scars, labelled=False),
        Arm("real + Perlin", "Real images and good ones with patches of noise filled with a texture (DRAEM).", _perlin,
            labelled=False),
        Arm("positive control", "Real images and as many new real ones, in no part of the partition: what a perfect "
            "generator would give. If even this shows no gain, the others could not.", _positive_control),
    )
}  # fmt: skip
"""In the order of the tables. The first one is what all others are compared with."""


def choose_arms(names: tuple[str, ...]) -> tuple[Arm, ...]:
    """Arms by name, in the order of the table; `all` is every one.

    Raises:
        ConfigError: An unknown name, or no arm besides `real`.
    """
    if names == ("all",):
        return tuple(ARMS.values())
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"unknown arm {name!r}; known: {', '.join(ARMS)}, or all")
    if REAL not in names:
        raise ConfigError(f"the arms must include {REAL!r}, which all others are compared with")
    return tuple(arm for arm in ARMS.values() if arm.name in names)
