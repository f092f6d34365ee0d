"""defect-synth: labelled synthetic defect images from a few real ones (DFMGAN, Duan et al., AAAI 2023).

Names are loaded on first use, so `import defect_synth` costs milliseconds, not torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defect_synth.augment import DefectAugmenter
    from defect_synth.augment.adapters.albumentations import DefectSynth
    from defect_synth.augment.adapters.anomalib import DefectSynthDataModule
    from defect_synth.augment.adapters.anomalib_generator import DefectAnomalyGenerator
    from defect_synth.augment.adapters.torchvision import DefectPaint
    from defect_synth.datasets.defect_dataset import DefectSynthDataset
    from defect_synth.dfmgan.synthesizer import DefectSynthesizer
    from defect_synth.errors import DefectSynthError
    from defect_synth.open import open_painter, open_source
    from defect_synth.painter import Painter
    from defect_synth.samples import DefectSample, DefectSource, Provenance

__version__ = "0.1.0"

_HOMES = {
    "DefectAnomalyGenerator": "defect_synth.augment.adapters.anomalib_generator",
    "DefectAugmenter": "defect_synth.augment",
    "DefectPaint": "defect_synth.augment.adapters.torchvision",
    "DefectSample": "defect_synth.samples",
    "DefectSource": "defect_synth.samples",
    "DefectSynth": "defect_synth.augment.adapters.albumentations",
    "DefectSynthDataModule": "defect_synth.augment.adapters.anomalib",
    "DefectSynthDataset": "defect_synth.datasets.defect_dataset",
    "DefectSynthError": "defect_synth.errors",
    "DefectSynthesizer": "defect_synth.dfmgan.synthesizer",
    "Painter": "defect_synth.painter",
    "Provenance": "defect_synth.samples",
    "open_painter": "defect_synth.open",
    "open_source": "defect_synth.open",
}

__all__ = [
    "DefectAnomalyGenerator",
    "DefectAugmenter",
    "DefectPaint",
    "DefectSample",
    "DefectSource",
    "DefectSynth",
    "DefectSynthDataModule",
    "DefectSynthDataset",
    "DefectSynthError",
    "DefectSynthesizer",
    "Painter",
    "Provenance",
    "__version__",
    "open_painter",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'defect_synth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
