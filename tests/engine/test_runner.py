from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
import torch

from defect_synth.atomic import writing_alone
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.engine import runner
from defect_synth.engine.loop import Ended
from defect_synth.engine.run_folder import PARTITION_FILE, RUN_FILE, read_run_folder
from defect_synth.engine.runner import Step, TrainingRequest, train
from defect_synth.engine.snapshot import STATE
from defect_synth.errors import CheckpointError, ConfigError, DataError, OutputError
from tests.fake_data import write_mvtec


@dataclass(frozen=True)
class FakeMethod:
    """Three steps that are not trained: the first is the basis of the others."""

    size: int = 1
    refused: bool = False
    method = "fake"
    must_match = ("size",)

    def described(self):
        return {"size": self.size}

    def require_possible(self, request):
        if self.refused:
            raise ConfigError("not possible")

    def steps(self, request):
        shares = {"backbone": 0.5, "a": 0.25, "b": 0.25}
        return [Step(name, name, lambda n=name: n, share, basis=name == "backbone") for name, share in shares.items()]


@pytest.fixture
def request_(tmp_path):
    table = index(write_mvtec(tmp_path / "data", "nut", {"hole": 3}, good=4, size=32))
    return TrainingRequest(table, everything(table, 0.0, 0), tmp_path / "run", minutes=8.0)


@pytest.fixture
def trained(monkeypatch):
    """(step, folder, minutes) of each stage that would have been trained, in no time at all."""
    seen = []

    def run(stage, folder, *, resume, minutes, report):
        seen.append((stage, folder.name, minutes))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STATE).touch()
        return Ended(1, True, None, 0.0, 0.0)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner.time, "monotonic", lambda: 0.0)
    return seen


def test_steps_are_trained_in_order_and_share_the_time_that_is_left(request_, trained):
    assert list(train(FakeMethod(), request_)) == ["backbone", "a", "b"]
    # No time passes: half of it, half of the rest (of equal shares), all of it.
    assert trained == [("backbone", "backbone", 4.0), ("a", "a", 4.0), ("b", "b", 8.0)]
    run = read_run_folder(request_.output)
    assert (run["method"], run["category"], run["size"], run["defects"]) == ("fake", "nut", 1, ["hole"])


def test_a_basis_is_left_alone_once_something_was_trained_on_it(request_, trained):
    train(FakeMethod(), request_)
    trained.clear()
    resumed = TrainingRequest(**{**request_.__dict__, "resume": True, "minutes": None})
    assert list(train(FakeMethod(), resumed)) == ["a", "b"]
    earlier = request_.output / "defects" / "earlier"  # a step of an earlier call that this one does not have
    earlier.mkdir(parents=True)
    (request_.output / "a" / STATE).unlink()
    (request_.output / "b" / STATE).rename(earlier / STATE)
    assert list(train(FakeMethod(), resumed)) == ["a", "b"]
    for name in ("a", "b", "defects/earlier"):
        (request_.output / name / STATE).unlink()
    assert list(train(FakeMethod(), resumed)) == ["backbone", "a", "b"]
    assert {minutes for _, _, minutes in trained} == {None}


def test_another_run_in_the_folder_is_refused(request_, trained):
    train(FakeMethod(), request_)
    with pytest.raises(CheckpointError, match="holds a run already; continue it with --resume"):
        train(FakeMethod(), request_)
    resumed = TrainingRequest(**{**request_.__dict__, "resume": True})
    with pytest.raises(CheckpointError, match="was started with size 1, now 2"):
        train(FakeMethod(size=2), resumed)


def test_what_a_method_refuses_leaves_no_folder(request_, trained):
    with pytest.raises(ConfigError, match="not possible"):
        train(FakeMethod(refused=True), request_)
    assert not request_.output.exists()
    assert trained == []


def test_a_category_without_defects_is_refused(tmp_path, trained):
    table = index(write_mvtec(tmp_path / "data", "nut", {}, good=4, size=32))
    with pytest.raises(DataError, match="has no defect images to train on"):
        train(FakeMethod(), TrainingRequest(table, everything(table, 0.0, 0), tmp_path / "run"))


def test_the_number_of_threads_is_stored_and_another_one_is_said(request_, trained, caplog):
    before = torch.get_num_threads()
    resumed = replace(request_, resume=True)
    try:
        torch.set_num_threads(1)
        train(FakeMethod(), request_)
        assert read_run_folder(request_.output)["threads"] == 1
        train(FakeMethod(), resumed)
        assert not caplog.records

        torch.set_num_threads(2)
        train(FakeMethod(), resumed)
    finally:
        torch.set_num_threads(before)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"{request_.output} was started with 1 threads and goes on with 2, so its numbers can differ in their last "
        "bits from those of a run without interruption; set OMP_NUM_THREADS=1 for the same bytes"
    )
    assert read_run_folder(request_.output)["threads"] == 1  # what it began with


def test_a_run_of_a_version_that_stored_no_threads_goes_on_without_a_word(request_, trained, caplog):
    train(FakeMethod(), request_)
    path = request_.output / RUN_FILE
    values = json.loads(path.read_text())
    del values["threads"]
    path.write_text(json.dumps(values))
    train(FakeMethod(), replace(request_, resume=True))
    assert not caplog.records


def test_a_run_that_another_process_trains_is_refused_and_untouched(request_, trained):
    train(FakeMethod(), request_)
    with writing_alone(request_.output):
        for resume in (False, True):
            with pytest.raises(OutputError, match=r"another process is writing .*run; wait until it ends"):
                train(FakeMethod(), replace(request_, resume=resume))
    assert len(trained) == 3
    assert not list(request_.output.glob(".*"))


def test_a_run_that_was_killed_before_anything_but_its_partition_was_written_begins_anew(request_, trained):
    train(FakeMethod(), request_)
    (request_.output / RUN_FILE).unlink()
    for name in ("backbone", "a", "b"):
        (request_.output / name / STATE).unlink()
        (request_.output / name).rmdir()
    (request_.output / ".lock").touch()
    (request_.output / ".run.0123456789ab.part.json").touch()
    assert list(train(FakeMethod(), request_)) == ["backbone", "a", "b"]
    (request_.output / RUN_FILE).unlink()
    (request_.output / PARTITION_FILE).write_text("of somebody else")
    with pytest.raises(CheckpointError, match="is not a run folder"):
        train(FakeMethod(), request_)
    assert (request_.output / PARTITION_FILE).read_text() == "of somebody else"
