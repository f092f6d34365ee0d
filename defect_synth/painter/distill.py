"""The bridge to the paper: what a trained DFMGAN adds to the few real images that a painter learns from.

Its triplets (clean, mask, defect) are pairs that no camera gives: the same object with and without the defect. Its
masks are shapes that no real defect had, and its normal images are more backgrounds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from defect_synth.compositor.gates import GateReport, Gates
from defect_synth.errors import ConfigError, DataError
from defect_synth.painter.training_images import DefectImage, NormalImage
from defect_synth.product.foreground import find_foreground
from defect_synth.samples import DefectSample, DefectSource, Provenance

log = logging.getLogger(__name__)

_AT_ONCE = 8
_MOST_DRAWN = 6  # samples for each that is wanted: a DFMGAN that fails more often teaches nothing


@dataclass(frozen=True, eq=False)
class DrawnTriplets:
    """Triplets of each defect category that a DFMGAN draws, and their clean images as normal ones."""

    triplets: Mapping[str, tuple[DefectImage, ...]]
    normals: tuple[NormalImage, ...]


def draw_triplets(
    source: DefectSource, real: Mapping[str, Sequence[DefectImage]], category: str, count: int, seed: int
) -> DrawnTriplets:
    """Draw triplets that pass the gates of the real defects.

    Args:
        source: A DFMGAN; its samples must have a `clean` image.
        real: Defect -> real ones, which set the limits.
        category: Of the real ones.
        count: Triplets of each defect.
        seed: Of the samples.

    Raises:
        ConfigError: It draws another category, or none of the defects.
        DataError: Its samples have no clean image, or hardly any of a defect passes.
    """
    shared = require_teacher(source, category, tuple(real))
    for name in sorted(set(real) - set(shared)):
        log.info("%s: not in the DFMGAN, learnt from its real images alone", name)
    triplets, normals = {}, []
    for name in shared:
        gates = Gates.of([_as_sample(item, category, name) for item in real[name]])
        found = _passing(source, name, gates, count, seed)
        triplets[name] = tuple(DefectImage(s.image, s.mask, s.clean) for s in found)
        normals += [
            NormalImage(s.clean, find_foreground(s.clean), synthetic=True) for s in found if s.clean is not None
        ]
    return DrawnTriplets(triplets, tuple(normals))


def require_teacher(source: DefectSource, category: str, defects: Sequence[str]) -> list[str]:
    """The defect categories that a DFMGAN and the images share, sorted.

    Raises:
        ConfigError: It draws another category, or none of the defects.
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


def _passing(source: DefectSource, name: str, gates: Gates, count: int, seed: int) -> list[DefectSample]:
    found: list[DefectSample] = []
    report = GateReport()
    for start in range(0, count * _MOST_DRAWN, _AT_ONCE):
        for sample in source.sample(name, range(seed + start, seed + start + _AT_ONCE)):
            if sample.clean is None:
                raise DataError("its samples have no clean image, so they are no triplets; give a DFMGAN")
            if report.add(gates.reject(sample)):
                found.append(sample)
        if len(found) >= count:
            break
    log.info("%s: %d triplets of the DFMGAN, %s", name, min(len(found), count), report.summary())
    if 4 * len(found) < count:
        raise DataError(
            f"only {len(found)} of {report.drawn} samples of {name} pass the gates ({report.summary()}); "
            "train the DFMGAN longer, or leave it out: `defect-synth train --method painter` needs none"
        )
    return found[:count]


def _as_sample(item: DefectImage, category: str, defect: str) -> DefectSample:
    return DefectSample(item.image, item.mask, defect, Provenance("real", category, defect, 0))
