"""The names that `import defect_synth` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import defect_synth


def test_every_public_name_is_listed_and_has_a_home():
    assert set(defect_synth.__all__) == {*defect_synth._HOMES, "__version__"}
    assert list(defect_synth.__all__) == sorted(defect_synth.__all__)


@pytest.mark.parametrize("name", [n for n in defect_synth._HOMES if n != "DefectSynthDataModule"])
def test_every_public_name_loads_what_it_names(name):
    assert getattr(defect_synth, name).__name__ == name


def test_the_datamodule_loads_anomalib_and_other_names_do_not():
    pytest.importorskip("anomalib", reason="needs the anomalib extra")
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from defect_synth import DefectAnomalyGenerator, DefectAugmenter, DefectPaint, DefectSynth, DefectSynthDataset
assert "anomalib" not in sys.modules
from defect_synth import DefectSynthDataModule
print(DefectSynthDataModule.__name__, "anomalib" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["DefectSynthDataModule", "True"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'defect_synth' has no attribute 'Nothing'"):
        _ = defect_synth.Nothing


def test_what_the_guides_call_the_door_is_there():
    assert defect_synth.open_source("demo").category == "hazelnut"
