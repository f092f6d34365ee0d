"""Samples of a trained DFMGAN for a painter to learn from, besides its few real images.

A triplet (clean image, mask, defect image) shows what no camera can: the same object with and without the defect. The
masks are shapes that no real defect had, and the clean images are additional backgrounds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from defect_synth.compositor.quality_check import QualityLimits, RejectionReport
from defect_synth.errors import ConfigError, DataError
from defect_synth.painter.training_images import DefectImage, NormalImage
from defect_synth.product.foreground import find_foreground
from defect_synth.product.pose import learn_poses
from defect_synth.samples import REAL, DefectSample, DefectSource, Provenance

log = logging.getLogger(__name__)

_AT_ONCE = 8  # samples that are drawn at a time
_MOST_DRAWN = 6  # samples per triplet that is wanted: a DFMGAN that fails more often is of no use


@dataclass(frozen=True, eq=False)
class DrawnTriplets:
    """What a DFMGAN drew.

    Attributes:
        triplets: Defect category -> its samples.
        normals: The clean images of all of them.
    """

    triplets: Mapping[str, tuple[DefectImage, ...]]
    normals: tuple[NormalImage, ...]


def draw_triplets(
    source: DefectSource, real: Mapping[str, Sequence[DefectImage]], category: str, count: int, seed: int
) -> DrawnTriplets:
    """Draw triplets that keep to the limits of the real defects.

    Args:
        source: A DFMGAN; its samples must have a `clean` image.
        real: Defect category -> its real images, which set the limits.
        category: Object category of the real images.
        count: Triplets of each defect.
        seed: Seed of the first sample.

    Raises:
        ConfigError: The DFMGAN draws another category, or none of the defects.
        DataError: Its samples have no clean image, or hardly any sample of a defect passes.
    """
    shared = shared_defects(source, category, tuple(real))
    for name in sorted(set(real) - set(shared)):
        log.info("%s: the DFMGAN does not draw it; only its real images are learnt from", name)
    poses = learn_poses([(item.image, find_foreground(item.image)) for items in real.values() for item in items])
    triplets, normals = {}, []
    for name in shared:
        limits = QualityLimits.from_real([_as_sample(item, category, name) for item in real[name]], poses)
        found = _passing(source, name, limits, count, seed)
        triplets[name] = tuple(DefectImage(s.image, s.mask, s.clean) for s in found)
        normals += [
            NormalImage(s.clean, find_foreground(s.clean), synthetic=True) for s in found if s.clean is not None
        ]
    return DrawnTriplets(triplets, tuple(normals))


def shared_defects(source: DefectSource, category: str, defects: Sequence[str]) -> list[str]:
    """The defect categories that a DFMGAN and the images share, sorted.

    Raises:
        ConfigError: The DFMGAN draws another category, or none of the defects.
    """
    if source.category != category:
        raise ConfigError(
            f"the DFMGAN draws {source.category!r} and the images are of {category!r}; give a run of this category"
        )
    shared = [name for name in sorted(defects) if name in source.defects]
    if not shared:
        raise ConfigError(
            f"the DFMGAN draws {', '.join(source.defects)} and none of {', '.join(sorted(defects))}; "
            "give a run of these defects"
        )
    return shared


def _passing(source: DefectSource, name: str, limits: QualityLimits, count: int, seed: int) -> list[DefectSample]:
    found: list[DefectSample] = []
    report = RejectionReport()
    for start in range(0, count * _MOST_DRAWN, _AT_ONCE):
        for sample in source.sample(name, range(seed + start, seed + start + _AT_ONCE)):
            if sample.clean is None:
                raise DataError("its samples have no clean image, so they are no triplets; give a DFMGAN")
            if report.add(limits.reject(sample)):
                found.append(sample)
        if len(found) >= count:
            break
    log.info("%s: %d triplets of the DFMGAN, %s", name, min(len(found), count), report.summary())
    if 4 * len(found) < count:
        raise DataError(
            f"only {len(found)} of {report.drawn} samples of {name} pass the quality check ({report.summary()}); "
            "train the DFMGAN longer, or leave it out: `defect-synth train --method painter` needs none"
        )
    return found[:count]


def _as_sample(item: DefectImage, category: str, defect: str) -> DefectSample:
    return DefectSample(item.image, item.mask, defect, Provenance(REAL, category, defect, 0))
