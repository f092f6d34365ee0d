"""The painter: learnt defects on the user's own normal images.

Names are loaded on first use, so that `OnnxPainter` works without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defect_synth.painter.painter import Painter
    from defect_synth.painter.train import train_painter

__all__ = ["Painter", "train_painter"]

_HOMES = {
    "Painter": "defect_synth.painter.painter",
    "train_painter": "defect_synth.painter.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
