"""`import defect_synth` and `defect-synth --help` must not wait for torch, nor for anything else."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HELP = """
import sys
from defect_synth.cli import main
sys.argv = ["defect-synth", "--help"]
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import defect_synth", ("torch", "numpy", "pydantic")),
        ("import defect_synth.cli", ("torch", "numpy", "cv2", "pydantic", "rich")),
        (HELP, ("torch", "numpy", "cv2", "pydantic", "rich")),
    ],
)
def test_heavy_packages_are_left_alone(code, forbidden):
    code += f"\nimport sys; print([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_costs_less_than_half_a_second_of_processor_time():
    # Processor time, not the clock: the machine may be busy with other things.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in ("check", "demo-data", "train", "generate", "benchmark", "import", "info"):
        assert f"  {command} " in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
