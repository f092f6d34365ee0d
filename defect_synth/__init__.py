"""defect-synth: labelled synthetic defect images from a handful of real ones (DFMGAN, Duan et al., AAAI 2023).

Names are loaded on first use, so `import defect_synth` costs milliseconds, not torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defect_synth.augmenter import DefectAugmenter
    from defect_synth.dataset import DefectSynthDataset
    from defect_synth.errors import DefectSynthError
    from defect_synth.painter import Painter
    from defect_synth.samples import DefectSample, DefectSource, Provenance
    from defect_synth.synthesizer import DefectSynthesizer
    from defect_synth.transform import DefectSynth

__version__ = "0.1.0"

_HOMES = {
    "DefectAugmenter": "defect_synth.augmenter",
    "DefectPaint": "defect_synth.defect_paint",
    "DefectSample": "defect_synth.samples",
    "DefectSource": "defect_synth.samples",
    "DefectSynth": "defect_synth.transform",
    "DefectSynthDataset": "defect_synth.dataset",
    "DefectSynthError": "defect_synth.errors",
    "DefectSynthesizer": "defect_synth.synthesizer",
    "Painter": "defect_synth.painter",
    "Provenance": "defect_synth.samples",
}

__all__ = [
    "DefectAugmenter",
    "DefectPaint",
    "DefectSample",
    "DefectSource",
    "DefectSynth",
    "DefectSynthDataset",
    "DefectSynthError",
    "DefectSynthesizer",
    "Painter",
    "Provenance",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'defect_synth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
