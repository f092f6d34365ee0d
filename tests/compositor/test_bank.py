from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest

from defect_synth.compositor.bank import Bank, bank_from_samples, build_bank
from defect_synth.compositor.quality_check import QualityLimits
from defect_synth.data.generated import FolderSource
from defect_synth.errors import ConfigError, DataError, OutputError, UnknownDefectError
from defect_synth.export.generated_folder import generate
from defect_synth.samples import DefectSample, FiniteSource, Provenance
from tests.fake_painter import FakePainter

OPEN = QualityLimits(containment=0.0)


@pytest.fixture
def built(tmp_path):
    return build_bank(FakePainter(), tmp_path / "bank", count=5, limits=OPEN)[0]


def test_a_built_bank_opens_as_the_samples_it_was_made_of(built):
    assert built.category == "part"
    assert built.defects == ("hole", "spot")
    assert len(built) == 10
    first = FakePainter().sample("hole", [0])[0]
    clean, image, mask = built.read(int(built.indices("hole")[0]))
    np.testing.assert_array_equal(clean, first.clean)
    np.testing.assert_array_equal(image, first.image)
    np.testing.assert_array_equal(mask, first.mask)
    assert built.box(0) == (20, 20, 32, 32)
    assert built.appearance.shape == (10, 48)


def test_a_bank_is_mapped_read_only_and_pickles_as_its_path(built):
    assert isinstance(built.read(0).image.base, np.memmap) or not built.read(0).image.flags.writeable
    assert len(pickle.dumps(built)) < 1000
    assert pickle.loads(pickle.dumps(built)).digest == built.digest


def test_a_bank_is_a_finite_source_of_its_entries(built):
    assert isinstance(built, FiniteSource)
    assert built.seeds("hole") == (0, 1, 2, 3, 4)
    assert built.seeds("spot") == (5, 6, 7, 8, 9)
    first, again = built.sample("spot", [7, 5]), built.sample("spot", [5, 7])
    for sample, number in zip(first, (7, 5), strict=True):
        expected = FakePainter().sample("spot", [number - 5])[0]
        np.testing.assert_array_equal(sample.image, expected.image)
        np.testing.assert_array_equal(sample.mask, expected.mask)
        np.testing.assert_array_equal(sample.clean, expected.clean)
        assert sample.provenance == Provenance(
            "bank", "part", "spot", number, built.digest,
            {"recorded_method": "fake", "recorded_seed": number - 5, "recorded_checkpoint": ""},
        )  # fmt: skip
    assert [s.provenance for s in first] == [s.provenance for s in again][::-1]


def test_a_bank_refuses_the_number_of_another_defect(built):
    with pytest.raises(DataError, match=r"has no entry 5 of 'hole': take numbers from .seeds\('hole'\), 5 from 0 to 4"):
        built.sample("hole", [5])


def test_a_bank_can_be_generated_from(built, tmp_path):
    folder = FolderSource(generate(built, tmp_path / "out", count=3))
    assert folder.seeds("hole") == (0, 1, 2)
    assert folder.seeds("spot") == (5, 6, 7)
    np.testing.assert_array_equal(folder.sample("spot", [6])[0].image, built.sample("spot", [6])[0].image)
    whole = FolderSource(generate(built, tmp_path / "all", count=100))
    assert whole.seeds("spot") == built.seeds("spot")


class AnySize(FakePainter):
    """Every sample has another size, and every third one no clean image."""

    def sample(self, defect, seeds):
        return [self._cut(sample) for sample in super().sample(defect, seeds)]

    def _cut(self, sample):
        seed = sample.provenance.seed
        window = np.s_[seed : 40 + 2 * seed, 2 * seed : 34 + 3 * seed]
        clean = None if seed % 3 == 0 or sample.clean is None else sample.clean[window].copy()
        return DefectSample(
            sample.image[window].copy(), sample.mask[window].copy(), sample.defect, sample.provenance, clean
        )


def as_format_2(path, folder):
    """Write a bank of one size as version 0.1.0 did."""
    shutil.copytree(path, folder)
    shapes = np.load(path / "shapes.npy")
    (folder / "shapes.npy").unlink()
    for name, channels in (("images", (3,)), ("masks", ()), ("cleans", (3,))):
        np.save(folder / f"{name}.npy", np.load(path / f"{name}.npy").reshape(len(shapes), *shapes[0], *channels))
    values = json.loads((path / "bank.json").read_text())
    (folder / "bank.json").write_text(json.dumps(values | {"format": 2}))
    return folder


def test_equal_banks_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        build_bank(FakePainter(), tmp_path / name, count=3, limits=OPEN)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_bank_of_many_samples_is_on_disk_what_numpy_would_have_saved_at_once(tmp_path):
    samples = [sample for defect in FakePainter.defects for sample in FakePainter().sample(defect, range(70))]
    bank, _ = build_bank(FakePainter(), tmp_path / "bank", count=70, limits=OPEN)
    at_once = bank_from_samples("part", samples)
    for name, array in at_once._arrays.items():
        np.save(tmp_path / "whole.npy", array)
        assert (tmp_path / "bank" / f"{name}.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes(), name
    assert bank.digest == at_once.digest
    assert bank.entries == at_once.entries


def test_clean_pairs_that_come_late_stand_at_their_own_places(tmp_path):
    class Paired(FakePainter):
        def sample(self, defect, seeds):
            return [
                s if s.provenance.seed % 3 == 2 else DefectSample(s.image, s.mask, defect, s.provenance)
                for s in super().sample(defect, seeds)
            ]

    bank, _ = build_bank(Paired(), tmp_path / "bank", count=9, defects=["hole"], limits=OPEN)
    assert [bank.read(k).clean is not None for k in range(9)] == [False, False, True] * 3
    np.testing.assert_array_equal(bank.read(8).clean, FakePainter().sample("hole", [8])[0].clean)
    assert bank.digest == bank_from_samples("part", list(bank.recorded_samples())).digest


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    def peak(count):
        tracemalloc.start()
        try:
            build_bank(FakePainter(), tmp_path / str(count), count=count, defects=["hole"], limits=OPEN)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(8)  # what is loaded once
    few, many = peak(32), peak(256)
    grown = (256 - 32) * 7 * 64 * 64  # bytes that these samples would take
    assert many - few < 0.2 * grown


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    class Interrupted(FakePainter):
        def sample(self, defect, seeds):
            if seeds[0] >= 32:
                raise KeyboardInterrupt
            return super().sample(defect, seeds)

    with pytest.raises(KeyboardInterrupt):
        build_bank(Interrupted(), tmp_path / "bank", count=100, limits=OPEN)
    assert list(tmp_path.iterdir()) == []


def test_a_bank_has_no_name_before_it_is_whole_and_others_open_meanwhile(tmp_path, built):
    seen = []

    def progress(kept, wanted):
        seen.append((kept, wanted, (tmp_path / "next").exists(), len(Bank.open(built.path).sample("hole", [kept % 5]))))

    build_bank(FakePainter(), tmp_path / "next", count=3, limits=OPEN, progress=progress)
    assert seen == [(k, 6, False, 1) for k in range(1, 7)]
    assert len(Bank.open(tmp_path / "next")) == 6


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    from defect_synth.compositor.bank import writer

    def full(self, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._ArrayFile, "append", full)
    with pytest.raises(OutputError, match=r"no space left on the disk of .*bank; free some or choose another --output"):
        build_bank(FakePainter(), tmp_path / "bank", count=2, limits=OPEN)
    assert list(tmp_path.iterdir()) == []


def test_rejected_samples_are_replaced_by_the_next_seeds_and_counted(tmp_path):
    class Half(FakePainter):
        def sample(self, defect, seeds):
            out = super().sample(defect, seeds)
            return [s if s.provenance.seed % 2 else DefectSample(
                s.clean, np.zeros_like(s.mask), defect, s.provenance, s.clean) for s in out]  # fmt: skip

    bank, report = build_bank(Half(), tmp_path / "bank", count=4, defects=["hole"], limits=OPEN)
    assert [entry.provenance["seed"] for entry in bank.entries] == [1, 3, 5, 7]
    assert report.rejected["empty"] == report.drawn / 2


def test_a_source_that_gives_nothing_usable_is_said_to(tmp_path):
    class Empty(FakePainter):
        def propose_mask(self, defect, foreground, seed, image=None):
            return np.zeros(foreground.shape, np.uint8)

    with pytest.raises(DataError, match=r"rejected every sample.*0% of"):
        build_bank(Empty(), tmp_path / "bank", count=2)
    assert not (tmp_path / "bank").exists()
    assert list(tmp_path.iterdir()) == []


def test_images_of_any_sizes_come_back_as_they_were(tmp_path):
    bank, _ = build_bank(AnySize(), tmp_path / "bank", count=7, limits=OPEN)
    in_memory = bank_from_samples("part", [s for d in AnySize.defects for s in AnySize().sample(d, range(7))])
    assert len({tuple(shape) for shape in bank.shapes.tolist()}) > 5
    assert in_memory.digest == bank.digest
    for opened in (bank, in_memory, pickle.loads(pickle.dumps(bank)), pickle.loads(pickle.dumps(in_memory))):
        for defect in AnySize.defects:
            expected = AnySize().sample(defect, range(7))
            for number, sample in zip(opened.seeds(defect), expected, strict=True):
                found = opened.sample(defect, [number])[0]
                np.testing.assert_array_equal(found.image, sample.image)
                np.testing.assert_array_equal(found.mask, sample.mask)
                assert (found.clean is None) == (sample.clean is None)
                if sample.clean is not None:
                    np.testing.assert_array_equal(found.clean, sample.clean)
                assert opened.shapes[number].tolist() == list(sample.mask.shape)


def test_banks_of_equal_pixels_in_other_shapes_have_other_digests():
    def samples(*shapes):
        for shape in shapes:
            image = np.full((*shape, 3), 90, np.uint8)
            yield DefectSample(image, np.zeros(shape, np.uint8), "hole", Provenance("x", "part", "hole", 0))

    one, other = (bank_from_samples("part", list(samples(*s))) for s in ([(16, 32), (16, 16)], [(16, 16), (16, 32)]))
    assert one.digest != other.digest


def test_a_bank_of_one_size_in_the_format_before_is_read_as_the_same_bank(tmp_path, built):
    old = Bank.open(as_format_2(built.path, tmp_path / "old"))
    assert (old.digest, old.defects, len(old)) == (built.digest, built.defects, len(built))
    assert old.entries == built.entries
    for number in range(len(built)):
        for there, here in zip(old.read(number), built.read(number), strict=True):
            np.testing.assert_array_equal(there, here)


def test_what_is_no_bank_or_a_damaged_or_newer_one_is_refused(tmp_path, built):
    with pytest.raises(DataError, match=r"is not a bank \(no bank.json\)"):
        Bank.open(tmp_path)
    index = json.loads((built.path / "bank.json").read_text())
    (built.path / "bank.json").write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(DataError, match=r"format 99.*upgrade"):
        Bank.open(built.path)
    (built.path / "bank.json").write_text(json.dumps({**index, "format": 1}))
    with pytest.raises(DataError, match=r"format 1, this version reads 2 and 3; make the bank again"):
        Bank.open(built.path)
    (built.path / "bank.json").write_text(json.dumps({**index, "defects": ["hole"]}))
    with pytest.raises(DataError, match=r"damaged .labels and the defects of the index differ"):
        Bank.open(built.path)
    (built.path / "bank.json").write_text(json.dumps({**index, "count": 3}))
    with pytest.raises(DataError, match="damaged"):
        Bank.open(built.path)
    (built.path / "bank.json").write_text(json.dumps(index))
    (built.path / "masks.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        Bank.open(built.path)


def test_opening_reads_no_provenance_and_whoever_needs_it_is_told_of_damage(built):
    lines = (built.path / "provenance.jsonl").read_text().splitlines()
    assert len(lines) == len(built) == 10
    (built.path / "provenance.jsonl").write_text("\n".join(lines[:4]))
    bank = Bank.open(built.path)
    np.testing.assert_array_equal(bank.read(0).image, built.read(0).image)
    with pytest.raises(DataError, match=r"damaged .4 lines of provenance for 10 entries"):
        next(bank.recorded_samples())


def test_a_pickle_in_the_place_of_an_array_is_not_opened(built):
    np.save(built.path / "boxes.npy", np.array([{"a": 1}] * 10, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        Bank.open(built.path)


def test_a_taken_folder_a_wrong_count_and_an_unknown_defect_are_refused(tmp_path, built):
    with pytest.raises(OutputError, match="already holds something"):
        build_bank(FakePainter(), built.path)
    with pytest.raises(ConfigError, match="count must be 1 or more"):
        build_bank(FakePainter(), tmp_path / "other", count=0)
    with pytest.raises(UnknownDefectError):
        build_bank(FakePainter(), tmp_path / "other", defects=["scratch"])
    with pytest.raises(UnknownDefectError):
        built.indices("scratch")


def test_a_defect_of_which_all_samples_are_rejected_is_named_with_the_reason(tmp_path, caplog):
    class NoSpot(FakePainter):
        def sample(self, defect, seeds):
            out = super().sample(defect, seeds)
            return [
                DefectSample(s.clean, np.zeros_like(s.mask), defect, s.provenance, s.clean) if defect == "spot" else s
                for s in out
            ]

    bank, report = build_bank(NoSpot(), tmp_path / "bank", count=2, limits=OPEN)
    assert bank.defects == ("hole",)
    report.warn()
    (line,) = [record.message for record in caplog.records]
    assert line.startswith(
        "spot: no sample passed the quality check, so it is left out: 0% of 40 accepted; rejected: empty 100%"
    )
    assert report.defects["hole"].acceptance == 1


def test_each_defect_can_have_its_own_limits(tmp_path):
    limits = {"hole": QualityLimits(area=(0.9, 1.0)), "spot": OPEN}
    bank, _ = build_bank(FakePainter(), tmp_path / "bank", count=2, limits=limits)
    assert bank.defects == ("spot",)


def test_a_banks_digest_depends_on_its_pixels():
    sample = FakePainter().sample("hole", [0])[0]
    other = DefectSample(sample.image ^ np.uint8(1), sample.mask, "hole", sample.provenance, sample.clean)
    assert bank_from_samples("part", [sample]).digest != bank_from_samples("part", [other]).digest
    assert bank_from_samples("part", [sample]).digest == bank_from_samples("part", [sample]).digest


def test_a_bank_can_be_written_out_as_mvtec(built, tmp_path, monkeypatch, capsys):
    import cv2

    from defect_synth.cli import main

    monkeypatch.setattr("sys.argv", ["defect-synth", "export", str(built.path), "-o", str(tmp_path / "out"),
                                     "--format", "mvtec"])  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    images = sorted((tmp_path / "out").rglob("test/hole/*.png"))
    assert len(images) == 5
    first = cv2.imread(str(images[0]))[:, :, ::-1]
    np.testing.assert_array_equal(first, built.read(int(built.indices("hole")[0])).image)


def test_a_painter_can_be_banked_with_limits_from_real_defects(tmp_path, monkeypatch, capsys):
    from defect_synth.cli import main
    from defect_synth.demo.mvtec_folder import write_demo

    data = write_demo(tmp_path / "data", resolution=64, good=4, test_good=1, per_defect=4, seed=3)
    monkeypatch.setattr("sys.argv", ["defect-synth", "bank", "demo", "-o", str(tmp_path / "bank"), "--count", "2",
                                     "--defects", "hole", "--data", str(data)])  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert "limits: from" in capsys.readouterr().out
    assert Bank.open(tmp_path / "bank").defects == ("hole",)
