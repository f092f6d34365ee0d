"""The arms: what each classifier is trained on. A new way of making defects is compared by adding its entry to `ARMS`.

Every arm has the same classifier, transforms, optimiser steps and images per step. An arm whose source cannot be made
raises `ArmNotPossible`, and the report gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from defect_synth.baselines.crop_paste import CropPaste
from defect_synth.benchmark.context import ArmNotPossible, PartitionContext
from defect_synth.benchmark.downstream.batches import Sampling
from defect_synth.benchmark.sources import DefectsOnGoodImages, ResizedSource, RoundRobinSource
from defect_synth.demo.hazelnut import DemoSource
from defect_synth.errors import ConfigError, DataError
from defect_synth.painter.painter_base import PAINTING_VERSION
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance


@dataclass(frozen=True)
class Arm:
    """One arm of the comparison.

    Attributes:
        name: Name in tables and on the command line.
        about: One line for the report.
        source: Makes the source of generated images from what a partition may learn from; None: there are none.
        share: Share of each batch that is generated. 1: nothing else. A share between 0 and 1 is replaced by the
            protocol's ratio.
        sampling: Labels of a batch: as frequent as among the real images, or all equally likely.
        labelled: Whether each generated image is of a known defect category.
        masks: Masks of the generated images: `exact`, `weak` (a thresholded soft map of the system) or `none`.
        system: Its name in the paper's Tables 1 and 2, which list the arms that have one.
        images_version: Version of how the images are made; results of other versions are measured again.
    """

    name: str
    about: str
    source: Callable[[PartitionContext], DefectSource | None]
    share: float = 0.5
    sampling: Sampling = "proportional"
    labelled: bool = True
    masks: Literal["exact", "weak", "none"] = "exact"
    system: str = ""
    images_version: int = 0

    @property
    def mixes(self) -> bool:
        """Whether batches mix real and generated images, so that their ratio can be varied."""
        return 0 < self.share < 1


def _no_source(context: PartitionContext) -> None:
    return None


def _class_balanced(context: PartitionContext) -> None:
    counts = np.bincount(context.base.labels)
    if len(set(counts.tolist())) == 1:
        raise ArmNotPossible(f"all classes have {counts[0]} base images: it would equal the arm 'real'")


def _standard_augmentation(context: PartitionContext) -> DefectSource:
    from defect_synth.benchmark.standard_augmentation import StandardAugmentation

    return StandardAugmentation(context.category, {c: context.of(c) for c in context.base.classes})


def _crop_paste(context: PartitionContext) -> DefectSource:
    return CropPaste(context.category, {d: context.of(d) for d in context.defects}, context.good.images)


def _dfmgan(context: PartitionContext) -> DefectSource:
    return context.dfmgan()


def _painter(context: PartitionContext) -> DefectSource:
    return context.painter()


def _careful_paste(context: PartitionContext) -> DefectSource:
    """Real base defects, moved, rotated and blended onto the object of good images."""
    from defect_synth.compositor.bank import bank_from_samples

    samples = [
        DefectSample(image, mask, defect, Provenance("real", context.category, defect, i))
        for defect in context.defects
        for i, (image, mask) in enumerate(context.full_size(defect))
        if mask.any()
    ]
    bank = bank_from_samples(context.category, samples)
    source = _augmented("careful_crop_paste", context, bank, context.good_full_size, scale=(0.8, 1.25))
    return ResizedSource(source, context.resolution, context.how)


def _transform(context: PartitionContext) -> DefectSource:
    """Defects that DFMGAN generated, blended into good images as the package's transform does."""
    try:
        return _augmented("dfmgan_on_good_images", context, context.dfmgan(), list(context.good.images), scale=1.0)
    except DataError as error:  # no generated defect passed the quality check
        raise ArmNotPossible(str(error)) from error


def _augmented(
    method: str, context: PartitionContext, source: DefectSource, good: Sequence[Pixels],
    scale: float | tuple[float, float],
) -> DefectSource:  # fmt: skip
    from defect_synth.augment import DefectAugmenter

    augmenters = {d: DefectAugmenter(source, defects=(d,), severity=(0.8, 1.1), scale=scale) for d in context.defects}

    def put(image: Pixels, defect: str, rng: np.random.Generator) -> DefectSample:
        return augmenters[defect](image, rng)

    digest = next(iter(augmenters.values())).digest
    return DefectsOnGoodImages(method, context.category, context.defects, good, put, digest)


def _paste_and_painter(context: PartitionContext) -> DefectSource:
    return RoundRobinSource((_careful_paste(context), context.painter()))


def _trained(name: str) -> Callable[[PartitionContext], DefectSource]:
    return lambda context: context.system(name)


def _cutout(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.cutout import Cutout

    return Cutout(context.category, context.good.images)


def _cutpaste(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.cutpaste import CutPaste

    return CutPaste(context.category, context.good.images)


def _cutpaste_scar(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.cutpaste import CutPaste

    return CutPaste(context.category, context.good.images, "scar")


def _perlin(context: PartitionContext) -> DefectSource:
    from defect_synth.baselines.perlin import Perlin

    return Perlin(context.category, context.good.images, context.textures)


def _positive_control(context: PartitionContext) -> DefectSource:
    if not context.procedural:
        raise ArmNotPossible("new real images can be drawn only of the embedded product")
    return DemoSource(context.resolution)


REAL = "real"
STANDARD_AUGMENTATION = "real + standard augmentation"
PERLIN = "real + Perlin"

SYSTEMS = {
    "Finetune": "finetune", "DiffAug": "diffaug", "CDC": "cdc", "SDGAN": "sdgan", "Defect-GAN": "defect-gan",
}  # fmt: skip
"""Trained systems of the paper's tables besides DFMGAN: name there -> method, as in `Provenance`."""

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(REAL, "Real base images alone: the arm to beat.", _no_source, share=0),
        Arm(STANDARD_AUGMENTATION, "Real images, half of them transformed by an albumentations pipeline.",
            _standard_augmentation),
        Arm("real class-balanced", "Real images alone, all classes equally often.", _class_balanced,
            share=0, sampling="balanced"),
        Arm("real + Crop&Paste", "Real images and those of the paper's Crop&Paste: N_g x N_d images in which the "
            "defect stays where it was.", _crop_paste),
        Arm("Crop&Paste only", "Nothing but images of the paper's Crop&Paste, as in its Table 2.",
            _crop_paste, share=1, sampling="balanced", system="Crop&Paste"),
        Arm("real + careful paste", "Real images, and real defects moved, rotated and blended onto the object of good "
            "images.", _careful_paste),
        Arm("DFMGAN only", "The paper's protocol (Sec. 4.3): nothing but generated images.", _dfmgan,
            share=1, sampling="balanced", system="DFMGAN"),
        Arm("real + DFMGAN", "Real images and as many generated by DFMGAN.", _dfmgan),
        Arm("Finetune only", "StyleGAN2 trained on good images, then all of it fine-tuned on the images of one defect.",
            _trained("Finetune"), share=1, sampling="balanced", masks="none", system="Finetune"),
        Arm("DiffAug only", "StyleGAN2 trained from scratch on the images of one defect, with differentiable "
            "augmentation.", _trained("DiffAug"), share=1, sampling="balanced", masks="none", system="DiffAug"),
        Arm("CDC only", "StyleGAN2 trained on good images, adapted to one defect so that distances between samples are "
            "kept.", _trained("CDC"), share=1, sampling="balanced", masks="none", system="CDC"),
        Arm("SDGAN only", "Cycle-consistent translation of good images into defect images.",
            _trained("SDGAN"), share=1, sampling="balanced", masks="none", system="SDGAN"),
        Arm("Defect-GAN only", "Defacement and restoration of good images; its thresholded soft map is a weak mask.",
            _trained("Defect-GAN"), share=1, sampling="balanced", masks="weak", system="Defect-GAN"),
        Arm("painter only", "Nothing but good images into which the painter has painted a defect.", _painter,
            share=1, sampling="balanced", system="painter", images_version=PAINTING_VERSION),
        Arm("real + painter", "Real images and as many good ones into which the painter has painted a defect.",
            _painter, images_version=PAINTING_VERSION),
        Arm("real + DFMGAN transform", "Real images and as many good ones into which a defect generated by DFMGAN is "
            "blended.", _transform),
        Arm("real + paste + painter", "Real images and as many generated ones, from careful paste and painter in turn.",
            _paste_and_painter, images_version=PAINTING_VERSION),
        Arm("real + Cutout", "Real images and good ones with a black square.", _cutout, labelled=False),
        Arm("real + CutPaste", "Real images and good ones with a patch of themselves pasted elsewhere.", _cutpaste,
            labelled=False),
        Arm("real + CutPaste scar", "The same with thin, rotated patches.", _cutpaste_scar, labelled=False),
        Arm(PERLIN, "Real images and good ones with regions of Perlin noise filled with a texture (DRAEM).", _perlin,
            labelled=False),
        Arm("positive control", "Real images and as many new real ones that are in no part of the partition: what a "
            "perfect generator would give. If even this shows no gain, no other arm can.", _positive_control),
    )
}  # fmt: skip
"""All arms, in the order of the tables. The first one is what all others are compared with."""


def choose_arms(names: Sequence[str]) -> tuple[Arm, ...]:
    """Arms by name, in the order of `ARMS`; `all` stands for every arm.

    Raises:
        ConfigError: An unknown name, or `real` is not among them.
    """
    if list(names) == ["all"]:
        return tuple(ARMS.values())
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"unknown arm {name!r}; known: {', '.join(ARMS)}, or all")
    if REAL not in names:
        raise ConfigError(f"the arms must include {REAL!r}, which all others are compared with")
    return tuple(arm for arm in ARMS.values() if arm.name in names)


def require_among(names: Sequence[str], arms: Sequence[Arm], setting: str) -> None:
    """Refuse names of arms that are unknown or not among `arms`, instead of dropping them.

    Args:
        names: Names given in a setting.
        arms: The arms of the benchmark.
        setting: Dotted name of the setting, for the error.

    Raises:
        ConfigError: Names the setting, the arm, and the arms that are possible.
    """
    chosen = [arm.name for arm in arms]
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"{setting}: unknown arm {name!r}; known: {', '.join(ARMS)}")
        if name not in chosen:
            raise ConfigError(
                f"{setting}: {name!r} is not among the arms of this benchmark; they are: {', '.join(chosen)}"
            )
