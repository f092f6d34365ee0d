"""`import defect_synth` and `defect-synth --help` must not wait for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("defect_synth", ("torch", "numpy", "pydantic")), ("defect_synth.cli", ("torch", "numpy", "cv2", "pydantic"))],
)
def test_import_leaves_heavy_packages_alone(module, forbidden):
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
