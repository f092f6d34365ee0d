"""Where the models that ship with the package lie; they have learnt the procedural hazelnut only."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from defect_synth.errors import CheckpointError


def shipped_painter() -> Path:
    """The painter's checkpoint.

    Raises:
        CheckpointError: The installation is incomplete.
    """
    return _shipped("demo_painter.safetensors")


def shipped_dfmgan() -> Path:
    """The bundle of one DFMGAN for each defect category.

    Raises:
        CheckpointError: The installation is incomplete.
    """
    return _shipped("demo_dfmgan.safetensors")


def _shipped(name: str) -> Path:
    path = Path(str(files("defect_synth"))) / "demo" / "models" / name
    if not path.is_file():
        raise CheckpointError(f"this installation lacks {path.name}; install defect-synth again")
    return path
