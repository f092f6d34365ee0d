"""The whole benchmark on a tiny product: what it measures, that it is honest, and that it resumes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from defect_synth.atomic import writing_alone
from defect_synth.benchmark import BenchmarkRequest, load_protocol, run_benchmark
from defect_synth.benchmark.arms import ARMS, SYSTEMS, Arm
from defect_synth.benchmark.context import ArmNotPossible
from defect_synth.benchmark.downstream.detection_scores import order_matrix
from defect_synth.benchmark.product import embedded_product
from defect_synth.benchmark.protocol import EmbeddedProduct
from defect_synth.benchmark.results import BenchmarkResults, without_times
from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import split
from defect_synth.dfmgan.config import TINY as TINY_GENERATOR
from defect_synth.errors import ConfigError, DataError, OutputError
from tests.fake_data import write_mvtec
from tests.fake_sources import tree

CHEAP = ["real", "real + standard augmentation", "real class-balanced", "real + Crop&Paste"]
TINY = {
    "preset": "TINY", "painter_preset": "PAINT_TINY", "painter_minutes": None, "shots": "all", "per_defect": 8,
    "minutes": None, "arms": CHEAP,
    "classifier": {"architecture": "test_resnet", "steps": 4, "batch": 8, "evaluations": 2},
    "segmentation": {"steps": 3, "batch": 8, "channels": 4, "levels": 2, "arms": ["real", "real + Crop&Paste"]},
    "threshold": {"per_defect": 3}, "probe": {}, "detection": {"side": 64, "steps": 3, "channels": 8},
}  # fmt: skip


def bench(data, output, *, resume=False, report=None, **changes) -> BenchmarkResults:
    request = BenchmarkRequest(categories=("nut",), data=data, output=output, resume=resume)
    return run_benchmark(request, load_protocol("quick", TINY | changes), report)


def plain(results: BenchmarkResults):
    return without_times(results.model_dump(mode="json"))


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    root = tmp_path_factory.mktemp("product")
    write_mvtec(root, defects={"hole": 18, "cut": 15}, good=8, good_test=4, size=32)
    return root


@pytest.fixture(scope="module")
def finished(product, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "out"
    return bench(product, output, seeds=2), output


def test_every_result_is_there_and_the_file_reads_back(finished):
    results, output = finished
    assert [(c.arm, c.seed) for c in results.classification] == [(arm, seed) for arm in CHEAP for seed in (0, 1)]
    assert [(c.arm, c.seed, c.network) for c in results.probe] == [(arm, 0, "random convolutions") for arm in CHEAP]
    assert "### Linear probe" in (output / "report.md").read_text(encoding="utf-8")
    assert [(c.arm, c.seed) for c in results.segmentation] == [
        (arm, seed) for arm in ("real", "real + Crop&Paste") for seed in (0, 1)
    ]
    assert len(results.thresholds) == 1
    assert [(c.arm, c.seed) for c in results.detection] == [(arm, seed) for arm in CHEAP for seed in (0, 1)]
    for found in results.detection:
        assert len(found.scores) == len(found.test_names) == len(found.per_image) == 12 + 10
        assert len(found.good_scores) == len(found.good_names) == 4
        assert found.auroc == order_matrix(np.array(found.scores), np.array(found.good_scores)).mean()
    compared = {(c.task, c.against) for c in results.comparisons}
    assert {(t, "real") for t in ("detection", "detection, pixels", "classification")} <= compared
    assert "### Detection" in (output / "report.md").read_text(encoding="utf-8")
    assert BenchmarkResults.load(output / "results.json") == results
    assert {c.steps for c in results.classification} == {4}
    for cell in results.classification:
        assert cell.accuracy == np.mean(cell.values)
        assert cell.num_test == len(cell.test_names) == 12 + 10
        assert (cell.num_train, cell.num_validation) == (5 + 4, 2)
        assert np.argmax(cell.probabilities, 1).tolist() == list(cell.predictions)
    paste = next(c for c in results.classification if c.arm == "real + Crop&Paste")
    assert (paste.num_synthetic, paste.num_distinct) == (16, 16)


def test_a_finite_source_gives_all_it_has(product, tmp_path):
    # The paper's Crop&Paste has N_g x N_d images: 7 good base images of 8 (one validates) x 5 holes, x 4 cuts.
    results = bench(product, tmp_path / "out", arms=["real", "real + Crop&Paste"], per_defect=1000, segmentation=None,
                    threshold=None)  # fmt: skip
    good = len(split(index(product / "nut"), "P1", 0.2).good.base)
    assert results.classification[1].num_synthetic == good * 5 + good * 4


def test_a_killed_benchmark_is_continued_to_the_same_results(product, finished, tmp_path):
    whole, _ = finished
    output = tmp_path / "out"

    class KilledError(Exception):
        pass

    def kill(text, done, total):
        if "Crop&Paste, seed 1" in text and "segmentation" not in text:
            raise KilledError

    with pytest.raises(KilledError):
        bench(product, output, seeds=2, report=kill)
    assert not (output / "results.json").exists()
    done = {p: p.stat().st_mtime_ns for p in (output / "measurements").rglob("classification/**/*.json")}
    assert done
    assert plain(bench(product, output, seeds=2, resume=True)) == plain(whole)
    assert {p: p.stat().st_mtime_ns for p in done} == done  # finished cells were not touched


def test_resuming_with_more_seeds_keeps_the_finished_ones(product, finished, tmp_path):
    whole, _ = finished
    first = bench(product, tmp_path / "out", seeds=1)
    both = bench(product, tmp_path / "out", seeds=2, resume=True)
    assert plain(both)["classification"] == plain(whole)["classification"]
    assert [c for c in both.classification if c.seed == 0] == list(first.classification)  # wall times, too


def test_more_arms_in_the_segmentation_table_keep_the_finished_ones(product, finished, tmp_path):
    whole, output = finished
    shutil.copytree(output, tmp_path / "out")
    done = {p: p.read_bytes() for p in (tmp_path / "out" / "measurements").rglob("segmentation/**/*.json")}
    wider = TINY["segmentation"] | {"arms": [*TINY["segmentation"]["arms"], "real + standard augmentation"]}

    more = bench(product, tmp_path / "out", resume=True, seeds=2, segmentation=wider)

    assert done
    assert {p: p.read_bytes() for p in done} == done
    assert len(more.segmentation) > len(whole.segmentation)


def test_resuming_with_other_settings_measures_again(product, finished, tmp_path):
    _, output = finished
    shutil.copytree(output, tmp_path / "out")
    changed = bench(product, tmp_path / "out", resume=True, arms=["real"], segmentation=None, threshold=None,
                    classifier=TINY["classifier"] | {"steps": 5})  # fmt: skip
    assert changed.classification[0].steps == 5


def test_a_used_output_is_not_overwritten(product, finished):
    with pytest.raises(OutputError, match="holds a benchmark already; continue it with --resume"):
        bench(product, finished[1])


def test_an_output_that_another_process_writes_is_refused(product, tmp_path):
    with writing_alone(tmp_path), pytest.raises(OutputError, match="another process is writing"):
        bench(product, tmp_path, resume=True)


def test_a_damaged_picture_of_the_gallery_is_drawn_again(product, finished, tmp_path):
    results, output = finished
    shutil.copytree(output, tmp_path / "out")
    picture = next((tmp_path / "out" / "gallery").rglob("*.png"))
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-9])
    assert plain(bench(product, tmp_path / "out", resume=True, seeds=2)) == plain(results)
    assert picture.read_bytes() == whole


SHORTEST = {
    f"{stage}.{field}": 0.008 for stage in ("pretrain", "transfer") for field in ("total_kimg", "snapshot_kimg")
}


def arms_with_finetune_alone():
    """All arms, except that Finetune stands for all further systems, which are trained in the same way."""
    return [arm.name for arm in ARMS.values() if arm.system not in set(SYSTEMS) - {"Finetune"}]


def evaluate_on_few_images(monkeypatch):
    """Evaluate snapshots on fewer images: the same code in less time."""
    from defect_synth.dfmgan import fixed_samples, pretrain

    for room, name, few in (
        (fixed_samples, "NUM_OBJECTS", 4),
        (pretrain, "_NUM_SCORED", 8),
        (pretrain, "_NUM_SHOWN", 4),
    ):
        monkeypatch.setattr(room, name, few)


def test_replacing_test_images_by_noise_changes_only_scores(product, tmp_path, monkeypatch):
    evaluate_on_few_images(monkeypatch)
    poisoned = tmp_path / "poisoned"
    shutil.copytree(product, poisoned)
    partition = split(index(poisoned / "nut"), "P1", 0.2)
    rng = np.random.default_rng(0)
    for parts in (*partition.defects.values(), partition.good):
        for name in parts.test:
            noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(poisoned / "nut" / name)
    clean, changed = (
        bench(
            data,
            tmp_path / name,
            arms=arms_with_finetune_alone(),
            generator=SHORTEST,
            systems={"finetune": {"config": override(TINY_GENERATOR, SHORTEST).model_dump()}},
            per_defect=4,
        )
        for data, name in ((product, "a"), (poisoned, "b"))
    )
    assert without_times([g.model_dump() for g in clean.generators]) == without_times(
        [g.model_dump() for g in changed.generators]
    )
    assert [(g.generator, g.how) for g in clean.generators] == [
        ("DFMGAN", "trained"), ("painter", "trained"), ("Finetune", "trained"),
    ]  # fmt: skip
    assert clean.gallery == changed.gallery
    assert [arm.missing for arm in clean.arms] == [arm.missing for arm in changed.arms]
    labelled = {arm.name for arm in ARMS.values() if arm.labelled and arm.system not in SYSTEMS}
    assert {cell.arm for cell in clean.classification} >= labelled - {"positive control", "real + DFMGAN transform"}
    for a, b in zip(clean.classification, changed.classification, strict=True):
        assert (a.arm, a.source, a.synthetic_digest, a.choice, a.curve) == (
            b.arm, b.source, b.synthetic_digest, b.choice, b.curve)  # fmt: skip
    assert any(
        a.probabilities != b.probabilities for a, b in zip(clean.classification, changed.classification, strict=True)
    )
    for a, b in zip(clean.segmentation, changed.segmentation, strict=True):
        assert (a.synthetic_digest, a.threshold) == (b.synthetic_digest, b.threshold)
        assert a.average_precision != b.average_precision
    oracle = "oracle: the test images themselves"
    for a, b in zip(clean.thresholds[0].rules, changed.thresholds[0].rules, strict=True):
        assert (a.threshold == b.threshold) == (a.rule != oracle)
    # A generator's folder knows no name of a test image either.
    known = "".join(path.read_text() for path in (tmp_path / "a" / "generators").rglob("*.json"))
    assert not any(name in known for parts in partition.defects.values() for name in parts.test)


def test_random_labels_give_chance_in_every_arm(tmp_path, monkeypatch):
    # All images are holes; which folder one lies in says nothing about it. Above chance would be a leak.
    evaluate_on_few_images(monkeypatch)
    write_mvtec(tmp_path, defects={"hole": 120}, good=8, good_test=4, size=32)
    home = tmp_path / "nut"
    drawn = np.random.default_rng(0).permutation(120)
    for kind in ("test", "ground_truth"):
        (home / kind / "cut").mkdir()
        for i in drawn[:60]:
            name = f"{i:03d}.png" if kind == "test" else f"{i:03d}_mask.png"
            (home / kind / "hole" / name).rename(home / kind / "cut" / name)
    results = bench(tmp_path, tmp_path / "out", classifier=TINY["classifier"] | {"steps": 15}, seeds=2,
                    segmentation=None, threshold=None, generator=SHORTEST, arms=arms_with_finetune_alone(),
                    systems={"finetune": {"config": override(TINY_GENERATOR, SHORTEST).model_dump()}})  # fmt: skip
    assert len({c.arm for c in results.classification}) >= 11
    for arm in dict.fromkeys(c.arm for c in results.classification):
        mean = np.mean([c.accuracy for c in results.classification if c.arm == arm])
        assert mean == pytest.approx(0.5, abs=0.15), arm
    told_apart = [
        c for c in results.comparisons if c.task in ("classification", "probe")
    ]  # a detector sees real defects
    assert all("gain" not in c.verdict for c in told_apart)


def test_identical_arms_show_no_difference(product, tmp_path, monkeypatch):
    monkeypatch.setitem(ARMS, "real again", Arm("real again", "The same.", lambda context: None, share=0))
    results = bench(product, tmp_path / "out", arms=["real", "real again"], segmentation=None, threshold=None)
    assert [c.task for c in results.comparisons] == ["detection", "detection, pixels", "classification", "probe"]
    for comparison in results.comparisons:
        assert (comparison.low, comparison.difference, comparison.high) == (0, 0, 0)
        assert comparison.verdict == "no difference seen, n = 22"


def test_an_arm_that_is_not_possible_is_left_out_with_its_reason(product, tmp_path, monkeypatch):
    def impossible(context):
        raise ArmNotPossible("it needs the moon")

    monkeypatch.setitem(ARMS, "moon", Arm("moon", "Never.", impossible))
    results = bench(product, tmp_path / "out", arms=["real", "moon", "DFMGAN only"], shots=1, segmentation=None,
                    threshold=None)  # fmt: skip
    assert [c.arm for c in results.classification] == ["real"]
    missing = {arm.name: arm.missing for arm in results.arms}
    assert missing["moon"] == {"nut P1": "it needs the moon"}
    assert "need 2 base images of each defect; cut has 1" in missing["DFMGAN only"]["nut P1"]
    assert "it needs the moon" in (tmp_path / "out" / "report.md").read_text()
    assert results.classification[0].choice.validation_accuracy is None


def test_equal_classes_skip_the_balanced_arm(tmp_path):
    write_mvtec(tmp_path, defects={"hole": 6, "cut": 6}, good=6, good_test=0, size=32)
    results = bench(tmp_path, tmp_path / "out", arms=["real", "real class-balanced"], segmentation=None)
    assert [c.arm for c in results.classification] == ["real"]
    assert results.notes == (
        "detection: nut P1 has no good test images, so there is nothing to tell defects from.",
        "Anomaly thresholds: skipped, they need good images for validation and test.",
    )


def test_good_images_can_be_a_class_and_ratios_vary(product, tmp_path):
    results = bench(product, tmp_path / "out", with_good=True, ratios=[1.0, 3.0], arms=CHEAP[:3], threshold=None,
                    segmentation=TINY["segmentation"] | {"arms": ["real"]})  # fmt: skip
    labels = [c.label for c in results.classification]
    assert labels == ["real", CHEAP[1], f"{CHEAP[1]}, 3 : 1", "real class-balanced"]
    assert results.classification[0].classes == ("good", "cut", "hole")
    assert results.classification[0].num_test == 4 + 12 + 10
    assert results.segmentation[0].test_names == tuple(
        name for name in results.classification[0].test_names if "/good/" not in name
    )


def test_categories_are_measured_and_compared_separately(product, tmp_path):
    shutil.copytree(product, tmp_path / "two")
    write_mvtec(tmp_path / "two", category="bolt", defects={"dent": 9, "hole": 9}, good=4, size=32, seed=5)
    request = BenchmarkRequest(categories=("nut", "bolt"), data=tmp_path / "two", output=tmp_path / "out")
    changes = TINY | {"arms": ["real", "real + Crop&Paste"], "segmentation": None, "threshold": None}
    results = run_benchmark(request, load_protocol("quick", changes))
    assert [(c.category, c.classes) for c in results.classification if c.arm == "real"] == [
        ("nut", ("cut", "hole")), ("bolt", ("dent", "hole")),
    ]  # fmt: skip
    compared = [(c.category, c.images) for c in results.comparisons if c.task == "classification"]
    assert compared == [("nut", 22), ("bolt", 12)]
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.index("## nut") < report.index("## bolt")


def test_the_command_writes_the_report(product, tmp_path):
    from typer.testing import CliRunner

    from defect_synth.cli import app

    options = ["--data", str(product), "--category", "nut", "--preset", "TINY", "--arms", "real,real + Crop&Paste",
               "--partitions", "P1,R1", "--steps", "2", "--count", "4", "--shots", "5", "--architecture", "test_resnet",
               "--only-classify", "-o", str(tmp_path / "out")]  # fmt: skip
    done = CliRunner().invoke(app, ["benchmark", *options])
    assert done.exit_code == 0, done.output
    assert "Real images alone: " in done.output
    assert "no difference seen, n = " in done.output
    assert all((tmp_path / "out" / name).is_file() for name in ("results.json", "report.md", "report.html"))
    results = BenchmarkResults.load(tmp_path / "out" / "results.json")
    assert [(c.partition, c.num_train + c.num_validation) for c in results.classification[::2]] == [
        ("P1", 10),
        ("R1", 10),
    ]


def test_a_run_that_has_seen_test_images_is_refused(product, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    request = BenchmarkRequest(categories=("nut",), data=product, run=run, output=tmp_path / "out")
    protocol = load_protocol("quick", TINY)
    with pytest.raises(DataError, match="there is no proof that it never saw the test images"):
        run_benchmark(request, protocol)
    with pytest.raises(DataError, match=r"run-P1 has no partition\.json"):
        run_benchmark(request.model_copy(update=dict(run=tmp_path / "run-{partition}")), protocol)
    split(index(product / "nut"), "P2", 0.2).save(run / "partition.json")
    with pytest.raises(DataError, match=r"trained on \d+ images that are test images of P1 \(such as test/"):
        run_benchmark(request.model_copy(update=dict(resume=True)), protocol)


def test_the_embedded_product_needs_no_data_and_has_a_positive_control(tmp_path):
    request = BenchmarkRequest(categories=("hazelnut",), output=tmp_path / "out")
    changes = {"arms": ["real", "real + Crop&Paste", "positive control"], "segmentation": None, "threshold": None,
               "product": {"good": 4, "test_good": 2, "per_defect": 9}, "per_defect": 5}  # fmt: skip
    results = run_benchmark(request, load_protocol("quick", TINY | changes))
    assert [c.arm for c in results.classification] == ["real", "real + Crop&Paste", "positive control"]
    control = results.classification[2]
    assert (control.num_synthetic, control.num_distinct, control.num_test) == (20, 20, 24)
    assert "NOT MVTec AD" in (tmp_path / "out" / "report.html").read_text()
    # Of other products there are no new real images.
    nut = bench(write_mvtec(tmp_path / "x", size=32).parent, tmp_path / "out2", arms=["real", "positive control"],
                segmentation=None, threshold=None)  # fmt: skip
    assert [c.arm for c in nut.classification] == ["real"]


@pytest.mark.parametrize("damage", ["removed", "truncated", "none"])
def test_the_embedded_product_is_drawn_again_if_it_is_not_whole(damage, tmp_path, caplog):
    counts = EmbeddedProduct(good=2, test_good=1, per_defect=3)
    embedded_product("hazelnut", tmp_path, 32, counts, lambda done, total: None)
    before, drawn = tree(tmp_path), []
    path = next(tmp_path.rglob("test/good/*.png"))
    if damage == "removed":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:50])
    embedded_product("hazelnut", tmp_path, 32, counts, lambda done, total: drawn.append(done))
    assert tree(tmp_path) == before
    assert bool(drawn) == ("images are missing or damaged; all are drawn again" in caplog.text) == (damage != "none")


def test_a_shipped_generator_is_used_for_the_embedded_product_alone(tmp_path, monkeypatch, dfmgan):
    from defect_synth.benchmark.product import PRODUCT_SEED, shipped_models
    from defect_synth.demo import models
    from defect_synth.dfmgan.bundle import pack
    from defect_synth.dfmgan.checkpoint import DFMGANCard
    from defect_synth.engine.checkpoint import save_checkpoint

    files, bundle = {}, tmp_path / "bundle.safetensors"
    monkeypatch.setattr(models, "shipped_dfmgan", lambda: bundle)
    for defect in ("crack", "cut", "hole", "print"):
        files[defect] = tmp_path / f"{defect}.safetensors"
        card = DFMGANCard(kind="dfmgan", model=TINY_GENERATOR.model, category="hazelnut", defect=defect)
        save_checkpoint(files[defect], card, dfmgan.state_dict())
    for defects, seed, used in (
        (["crack", "cut", "hole"], 0, False),  # a defect is missing
        ([*files], PRODUCT_SEED, False),  # it may have learnt from test images
        ([*files], 0, True),
    ):
        bundle.unlink(missing_ok=True)
        pack({defect: files[defect] for defect in defects}, bundle)
        bundle.with_suffix(".json").write_text(json.dumps({"images": {"seed": seed}}))
        assert shipped_models(32).dfmgan == (bundle if used else None)
    assert shipped_models(64).dfmgan is None

    request = BenchmarkRequest(categories=("hazelnut",), output=tmp_path / "out")
    changes = {"arms": ["real", "DFMGAN only"], "segmentation": None, "threshold": None, "per_defect": 3,
               "product": {"good": 4, "test_good": 2, "per_defect": 9}}  # fmt: skip
    results = run_benchmark(request, load_protocol("quick", TINY | changes))
    assert [(g.generator, g.how) for g in results.generators] == [("DFMGAN", "shipped")]
    assert "it has seen more real images than the arm 'real'" in (tmp_path / "out" / "report.md").read_text()
    assert not (tmp_path / "out" / "generators").exists()


def test_the_embedded_product_has_one_category(tmp_path):
    request = BenchmarkRequest(categories=("bolt",), output=tmp_path / "out")
    with pytest.raises(ConfigError, match="embedded product is 'hazelnut'; for 'bolt' give your images with --data"):
        run_benchmark(request, load_protocol("quick", TINY))


def test_times_are_all_that_differs_between_two_runs():
    values = {"seconds": 3, "a": [{"seconds_of_source": 1, "b": 2}]}
    assert without_times(values) == {"a": [{"b": 2}]}
    assert json.dumps(values)  # untouched
