from __future__ import annotations

import pytest

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything, split
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.train import DFMGANMethod, load_pretrained, train_dfmgan
from defect_synth.engine.runner import TrainingRequest
from defect_synth.errors import CheckpointError, DataError, UnknownDefectError
from tests.fake_data import write_mvtec

SHORT = override(TINY, {"pretrain.total_kimg": 0.008, "transfer.total_kimg": 0.008})


@pytest.fixture
def table(tmp_path):
    return index(write_mvtec(tmp_path / "data", "nut", {"cut": 4, "hole": 4}, good=6, size=32))


def test_the_backbone_gets_60_percent_of_the_time_and_defects_share_the_rest(table, tmp_path):
    steps = DFMGANMethod(TINY).steps(TrainingRequest(table, everything(table, 0.0, 0), tmp_path / "run"))
    assert [(step.name, step.folder, step.basis) for step in steps] == [
        ("backbone", "backbone", True), ("cut", "defects/cut", False), ("hole", "defects/hole", False),
    ]  # fmt: skip
    assert [step.share for step in steps] == pytest.approx([0.6, 0.2, 0.2])


def test_every_stage_leaves_a_model_and_tells_how_it_ended(table, tmp_path):
    ended = train_dfmgan(table, everything(table, 0.0, 0), SHORT, tmp_path / "run", defects=["hole"])
    assert {name: (end.iterations, end.complete) for name, end in ended.items()} == {
        "backbone": (1, True), "hole": (1, True),
    }  # fmt: skip
    pretrained = load_pretrained(tmp_path / "run" / "backbone")
    assert pretrained.backbone.keys() == pretrained.average.keys()
    # A defect that is added later is trained on the same backbone.
    before = (tmp_path / "run" / "backbone" / "state.safetensors").read_bytes()
    again = train_dfmgan(table, everything(table, 0.0, 0), SHORT, tmp_path / "run", defects=["cut"], resume=True)
    assert list(again) == ["cut"]
    assert (tmp_path / "run" / "backbone" / "state.safetensors").read_bytes() == before


def test_a_defect_with_one_image_is_refused_before_anything_is_written(tmp_path):
    table = index(write_mvtec(tmp_path / "data", "nut", {"hole": 3}, good=6, size=32))
    with pytest.raises(DataError, match="hole has fewer than 2 base images in partition P1; give it more images"):
        train_dfmgan(table, split(table, "P1", 0.0), SHORT, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_defect_is_refused(table, tmp_path):
    with pytest.raises(UnknownDefectError, match="unknown defect 'holes' for nut; known: cut, hole"):
        train_dfmgan(table, everything(table, 0.0, 0), SHORT, tmp_path / "run", defects=["holes"])


def test_a_backbone_without_a_snapshot_is_not_read(tmp_path):
    with pytest.raises(CheckpointError, match="has no finished backbone; continue it with --resume"):
        load_pretrained(tmp_path)
