"""The loop on a stage of one weight: in which order its files are written."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from defect_synth.config import StageConfig
from defect_synth.engine import loop
from defect_synth.engine.checkpoint import TrainingCard
from defect_synth.engine.log import STATS, Log
from defect_synth.engine.loop import run
from defect_synth.engine.snapshot import STATE
from defect_synth.engine.stage import Outcome, Phase, Stage, adam
from defect_synth.errors import OutputError


class OneWeight(Stage):
    """Moves a weight towards drawn numbers; a row of the log for each iteration, a snapshot for every fourth."""

    def __init__(self):
        config = StageConfig(total_kimg=0.032, batch=4, learning_rate=0.1, ema_kimg=0.01, snapshot_kimg=0.016)
        super().__init__("weight", config, TrainingCard(category="nut", method="test"), torch.device("cpu"), 0)
        net = nn.Linear(1, 1, bias=False)
        nn.init.ones_(net.weight)
        self.modules = {"net": net}
        self.optimizers = {"net": adam(net.parameters(), config, 1, False)}
        self.phases = [Phase("fit", net, 1, lambda draws, iteration: iteration, self.fit)]

    def fit(self, iteration, start, stop):
        loss = (self.modules["net"].weight - 0.1 * iteration).square().mean()
        return Outcome(loss, {"loss": loss.detach()})

    def save_contact_sheet(self, path):
        pass

    def export(self, path, kimg, score):
        pass


def rows(folder):
    found = [json.loads(line) for line in (folder / STATS).read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


@pytest.mark.parametrize("moment", ["row", "snapshot"])
def test_a_row_that_comes_with_a_snapshot_is_neither_lost_nor_doubled(moment, tmp_path, monkeypatch):
    run(OneWeight(), tmp_path / "whole", resume=False)

    def full(*_):
        raise OutputError("no space")

    with monkeypatch.context() as patch:
        if moment == "row":
            real = Log.write
            patch.setattr(Log, "write", lambda log, number, *row: full() if number == 8 else real(log, number, *row))
        else:
            save = loop.Snapshot.save
            patch.setattr(loop.Snapshot, "save", lambda self, number: full() if number == 8 else save(self, number))
        with pytest.raises(OutputError):
            run(OneWeight(), tmp_path / "cut", resume=False)
    assert len(rows(tmp_path / "cut")) == (7 if moment == "row" else 8)
    run(OneWeight(), tmp_path / "cut", resume=True)

    assert [row["iteration"] for row in rows(tmp_path / "cut")] == list(range(1, 9))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert (tmp_path / "cut" / STATE).read_bytes() == (tmp_path / "whole" / STATE).read_bytes()
