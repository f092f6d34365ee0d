"""The systems of the paper's tables as arms: trained once for the same time, measured, and shown beside the paper."""

from __future__ import annotations

import re

import numpy as np
import pytest

from defect_synth.baselines.anomaly_source import ANY_DEFECT
from defect_synth.baselines.train import settings_of
from defect_synth.benchmark import ARMS, BenchmarkRequest, generators, load_protocol, run_benchmark
from defect_synth.benchmark.arms import SYSTEMS, choose_arms
from defect_synth.benchmark.labelled import LabelledArrays, with_one_label
from defect_synth.benchmark.results import BenchmarkResults, without_times
from defect_synth.benchmark.tables.paper_tables import paper_tables
from defect_synth.benchmark.task_results import DefectFigures, QualityResult
from defect_synth.data.layouts import index
from defect_synth.data.partitions import split
from defect_synth.engine.loop import Ended
from defect_synth.samples import DefectSample, Provenance
from tests.benchmark.squares import squares
from tests.fake_data import write_mvtec

CHOSEN = ["real", "Crop&Paste only", "Finetune only", "Defect-GAN only", "real + Cutout", "real + Perlin"]
PROTOCOL = {
    "preset": "TINY", "shots": "all", "per_defect": 6, "minutes": 3.0, "arms": CHOSEN,
    "classifier": {"architecture": "test_resnet", "steps": 3, "batch": 8, "evaluations": 1},
    "segmentation": {"steps": 3, "batch": 8, "channels": 4, "levels": 2, "arms": CHOSEN},
    "threshold": {"per_defect": 3, "arms": CHOSEN},
    "quality": {"count": 6, "lpips_count": 6},
}  # fmt: skip


class Fake:
    """A trained system that draws noise."""

    category, defects = "hazelnut", ("crack", "hole")

    def __init__(self, name, masked):
        self.digest, self._masked = f"{name} digest", masked

    def sample(self, defect, seeds):
        made = []
        for seed in seeds:
            rng = np.random.default_rng([seed, len(defect)])
            mask = np.zeros((32, 32), np.uint8)
            mask[4:9, 4:9] = self._masked
            image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            made.append(DefectSample(image, mask, defect, Provenance(self.digest, "hazelnut", defect, seed)))
        return made


def fake_systems(patch):
    """Replace the training of systems; returns what was trained, for how long, and the names of the images it got."""
    trained = []

    def train(settings, table, partition, folder, *, resume, minutes, device, report):
        folder.mkdir(parents=True)
        trained.append((settings, minutes, {record.name for record in table.records}))
        return {"stage": Ended(5, False, None, 0.0, 7.0)}

    def opened(folder, *, normal, device):
        assert normal.shape[1:] == (32, 32, 3)
        return Fake(folder.name, folder.name == "defect-gan")

    patch.setattr(generators, "settings_of", lambda method, preset, **_: (method, preset))
    patch.setattr(generators, "train_system", train)
    patch.setattr(generators, "open_system", opened)
    return trained


def bench(root, output, resume=False, report=None, **changes):
    request = BenchmarkRequest(categories=("hazelnut",), data=root, output=output, resume=resume)
    return run_benchmark(request, load_protocol("quick", PROTOCOL | changes), report)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("product")
    write_mvtec(root, category="hazelnut", defects={"crack": 12, "hole": 9}, good=8, good_test=4, size=32)
    output = tmp_path_factory.mktemp("out") / "out"
    with pytest.MonkeyPatch.context() as patch:
        trained = fake_systems(patch)
        return bench(root, output), output, trained, root


def test_each_system_is_trained_once_in_the_partition_for_the_same_time(done):
    results, _, trained, _ = done
    assert [(system, minutes) for system, minutes, _ in trained] == [
        (("finetune", "fast"), 3.0), (("defect-gan", "fast"), 3.0),
    ]  # fmt: skip
    tested = set(results.classification[0].test_names)
    assert not any(names & tested for _, _, names in trained)
    assert [(g.generator, g.how, g.seconds, g.digest) for g in results.generators] == [
        ("Finetune", "trained", 7.0, "finetune digest"), ("Defect-GAN", "trained", 7.0, "defect-gan digest"),
    ]  # fmt: skip
    assert any("Finetune of hazelnut P1 ran out of training time" in note for note in results.notes)


def test_a_painter_trains_as_long_as_the_others():
    protocol = load_protocol("quick", {"minutes": 7.0})
    assert protocol.painter_config().minutes == 7.0
    assert load_protocol("quick", {"minutes": 7.0, "painter_minutes": 2.0}).painter_config().minutes == 2.0


def test_arms_without_categories_or_masks_are_left_out_of_the_tasks_that_need_them(done):
    results, output, _, _ = done
    assert [c.arm for c in results.classification] == CHOSEN[:4]
    assert [c.arm for c in results.segmentation] == ["real", "Crop&Paste only", *CHOSEN[3:]]
    rules = [rule.rule for rule in results.thresholds[0].rules]
    assert rules[:5] == [f"synthetic defects: {name}" for name in CHOSEN[1:]]
    assert {r.num_defects for r in results.thresholds[0].rules[:5]} == {6}  # as many, with classes or without
    assert {c.num_synthetic for c in results.segmentation if c.arm != "real"} == {12}
    report = (output / "report.md").read_text()
    assert "| Finetune only | - | - | - | - | - |" in report
    assert "Weak masks (a thresholded soft map of the system): Defect-GAN only." in report
    assert "- Finetune only (segmentation): its images have no masks." in report
    assert "- real + Cutout (classification): its defects have no category, so no classifier of defects" in report
    page = (output / "report.html").read_text()
    assert page.count("<img") == 5


def test_continuing_trains_and_measures_nothing_again(done, monkeypatch):
    results, output, _, root = done
    trained = fake_systems(monkeypatch)
    files = {path: path.stat().st_mtime_ns for path in (output / "measurements").rglob("*.json")}
    assert any("quality" in str(path) for path in files)
    monkeypatch.setattr(generators, "open_system", None)  # not even opened
    again = bench(root, output, resume=True)
    assert without_times(again.model_dump(mode="json")) == without_times(results.model_dump(mode="json"))
    assert {path: path.stat().st_mtime_ns for path in (output / "measurements").rglob("*.json")} == files
    assert trained == []


def test_a_benchmark_killed_while_measuring_quality_continues_to_the_same_results(done, monkeypatch, tmp_path):
    results, _, _, root = done
    trained = fake_systems(monkeypatch)

    class KilledError(Exception):
        pass

    def kill(text, _done, _total):
        if "quality, Defect-GAN" in text:
            raise KilledError

    with pytest.raises(KilledError):
        bench(root, tmp_path / "out", report=kill)
    again = bench(root, tmp_path / "out", resume=True)
    assert len(trained) == 2
    for part in ("quality", "generators", "classification", "segmentation", "thresholds"):
        assert without_times([r.model_dump() for r in getattr(again, part)]) == without_times(
            [r.model_dump() for r in getattr(results, part)]
        )


def test_more_arms_later_are_added_to_the_thresholds(done, monkeypatch, tmp_path):
    *_, root = done
    fake_systems(monkeypatch)
    for names in (["real", "real + Cutout"], ["real", "real + Cutout", "real + Perlin"]):
        both = bench(root, tmp_path / "out", resume=True, arms=names, segmentation=None, quality=None,
                     threshold={"per_defect": 3, "arms": names})  # fmt: skip
    assert [r.rule for r in both.thresholds[0].rules][:2] == [
        "synthetic defects: real + Cutout", "synthetic defects: real + Perlin",
    ]  # fmt: skip


def test_quality_is_measured_for_every_system_and_stand_ins_have_their_own_names(done):
    results, _, _, root = done
    assert [c.arm for c in results.quality] == CHOSEN[1:4]
    for cell in results.quality:
        assert cell.distance == "MMD x1000 (random convolutions)"
        assert cell.spread == "clustered distance (random convolutions)"
        assert [f.defect for f in cell.defects] == ["crack", "hole"]
        assert all(f.generated == 6 and f.spread_official is None for f in cell.defects)
        assert all(f.nearest_low <= f.nearest <= f.nearest_high for f in cell.defects)
    paste, finetune, _ = results.quality
    partition = split(index(root / "hazelnut"), "P1", 0.2)
    counts = [len(partition.defects[defect].base) for defect in ("crack", "hole")]
    assert [f.available for f in paste.defects] == [len(partition.good.base) * count for count in counts]
    assert {f.available for f in finetune.defects} == {None}
    assert min(f.distance for f in finetune.defects) > max(f.distance for f in paste.defects)  # noise is far away
    assert min(f.nearest for f in finetune.defects) > 2


def test_the_distance_is_called_kid_only_with_inception_weights(done):
    results, *_ = done
    titles = [grid.title for grid in paper_tables(results, "hazelnut")]
    assert not any("KID" in title or "LPIPS" in title for title in titles)
    stand_in, spread, *_ = paper_tables(results, "hazelnut")
    assert "Without Inception's weights it is not KID: do not compare." in stand_in.note
    assert stand_in.rows[0][1] == spread.rows[0][1] == "ours, a stand-in"
    kid = results.model_copy(update=dict(quality=tuple(
        c.model_copy(update=dict(distance="KID x1000 (Inception)", spread="clustered LPIPS (LPIPS)"))
        for c in results.quality
    )))  # fmt: skip
    first, second, *_ = paper_tables(kid, "hazelnut")
    assert first.title.startswith("Table 1, first half: KID x1000 (Inception)")
    assert second.title.startswith("Table 1, second half: clustered LPIPS (LPIPS)")
    assert "not KID" not in first.note


def figures(defect: str, **changes) -> DefectFigures:
    values = dict(
        defect=defect,
        generated=9,
        available=None,
        distance=50.0,
        distance_low=None,
        distance_high=None,
        spread=0.2,
        spread_official=None,
        nearest=0.9,
        nearest_low=0.8,
        nearest_high=1.1,
        closer=0.25,
    )
    return DefectFigures(**(values | changes))  # fmt: skip


def test_our_figure_is_above_the_published_one(done):
    results, *_ = done
    cells = tuple(
        QualityResult(
            category="hazelnut", partition=partition, arm="Finetune only", source="", distance="KID x1000 (Inception)",
            spread="clustered LPIPS (LPIPS)", skipped=(), seconds=1,
            defects=(figures("crack", distance=distance), figures("hole", nearest=0.0, nearest_high=0.0)),
        )
        for partition, distance in (("P1", 40.0), ("P2", 60.0))
    )  # fmt: skip
    known = results.model_copy(update=dict(quality=cells))
    kid, lpips, accuracy, copies = paper_tables(known, "hazelnut")
    assert kid.head == ("system", "", "crack", "hole", "mean")
    # The published rows: Table 1 of the paper, hazelnut.
    assert kid.rows[2:4] == (
        ("Finetune", "ours", "50.00", "50.00", "50.00"),
        ("", "published: KID x1000 @5k", "41.64", "30.54", "36.09"),
    )
    assert kid.rows[0] == ("Crop&Paste", "ours", "-", "-", "-")  # not measured here
    assert kid.rows[1] == ("", "published: KID x1000 @5k", "-", "-", "-")  # nor there
    assert lpips.rows[3] == ("", "published: clustered LPIPS @1k", "0.1541", "0.1263", "0.1402")
    measured = next(c for c in results.classification if c.arm == "Finetune only")
    assert accuracy.head == ("system", "", "P1", "mean")
    assert accuracy.rows[2] == ("Finetune", "ours", *[f"{100 * measured.accuracy:.1f}"] * 2)
    assert accuracy.rows[3] == ("", "published", "70.83", "71.52")
    assert copies.rows == (("Finetune", "0.90", "0.00", "hole", "25.0", "no limit", "7"),)


def test_other_categories_have_the_published_mean(done):
    results, *_ = done
    renamed = results.model_dump(mode="json")
    for part in ("products", "classification", "generators"):
        for entry in renamed[part]:
            entry["category"] = "bottle"
    grids = paper_tables(BenchmarkResults.model_validate(renamed | {"quality": []}), "bottle")
    [accuracy] = grids
    rows = {row[0]: following for row, following in zip(accuracy.rows, accuracy.rows[1:], strict=False) if row[0]}
    assert rows["Crop&Paste"] == ("", "published", "-", "52.71")
    assert rows["Finetune"][1] == "ours"  # nothing was published: the next system follows


def test_report_only_prints_the_tables_of_recorded_results(done):
    from typer.testing import CliRunner

    from defect_synth.cli import app

    _, output, *_ = done
    before = (output / "report.md").read_text()
    (output / "report.md").unlink()
    shown = CliRunner().invoke(app, ["benchmark", "--report-only", "-o", str(output)])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"Finetune +ours +[\d.]+ +[\d.]+\n +published +70\.83 +71\.52", shown.output)
    assert (output / "report.md").read_text() == before
    missing = CliRunner().invoke(app, ["benchmark", "--report-only", "-o", str(output / "nothing")])
    assert missing.exit_code != 0


def test_every_trained_system_has_an_arm_and_a_place_in_the_tables():
    arms = {arm.system: arm for arm in ARMS.values() if arm.system}
    assert set(SYSTEMS) <= set(arms)
    assert {name for name, arm in arms.items() if arm.masks == "none"} == {"Finetune", "DiffAug", "CDC", "SDGAN"}
    assert arms["Defect-GAN"].masks == "weak"
    assert all(arm.share == 1 and arm.sampling == "balanced" for arm in arms.values())
    assert {arm.name for arm in ARMS.values() if not arm.labelled} == {
        "real + Cutout", "real + CutPaste", "real + CutPaste scar", "real + Perlin",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", ["quick", "full"])
def test_short_protocols_train_no_further_system(protocol):
    chosen = {arm.system for arm in choose_arms(load_protocol(protocol).arms)}
    assert not chosen & set(SYSTEMS)
    assert set(SYSTEMS) < {arm.system for arm in choose_arms(load_protocol("paper").arms)}


def test_one_label_changes_the_labels_and_nothing_else():
    arrays = squares(12, 0, "real")
    with_good = LabelledArrays(arrays.images, arrays.labels, ("good", "cut", "hole"), arrays.names, arrays.masks)
    without = with_one_label(with_good)
    assert without.classes == (ANY_DEFECT,)
    chosen = arrays.labels != 0
    assert np.array_equal(without.images, arrays.images[chosen])
    assert np.array_equal(without.masks, arrays.masks[chosen])
    assert not without.labels.any()


@pytest.mark.parametrize("method", SYSTEMS.values())
def test_every_system_has_settings_for_any_resolution(method):
    assert settings_of(method, "fast", resolution=32, seed=3).resolution == 32
    assert settings_of(method, "paper").resolution == 256
