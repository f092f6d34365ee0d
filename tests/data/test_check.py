from pathlib import Path

import numpy as np
import pytest

from defect_synth.data.check import Problem, Report, check, require_trainable
from defect_synth.data.layouts import index
from defect_synth.errors import DataError
from tests.fake_data import save, write_csv, write_mvtec, write_visa

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def found(report: Report, root: Path) -> list[tuple[str, str, str]]:
    return [(p.severity, p.file.relative_to(root).as_posix(), p.message) for p in report.problems]


def test_a_sound_folder_has_no_problems_and_right_figures(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, good=50)
    report = check(index(home))
    assert report.problems == ()
    assert (report.counts, report.good, report.good_test) == ({"cut": 6, "hole": 6}, 50, 3)
    assert report.sizes == {(48, 48): 65}
    require_trainable(report)


def test_mask_area_gives_the_quantiles_of_each_defect(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, defects={"hole": 5})
    for i, side in enumerate((2, 4, 6, 8, 10)):
        mask = np.zeros((48, 48), np.uint8)
        mask[:side, :side] = 255
        save(home / "ground_truth" / "hole" / f"{i:03d}_mask.png", mask)
    area = check(index(home)).mask_area["hole"]
    assert area == pytest.approx([side**2 / 48**2 for side in (2, 4, 6, 8, 10)])


def test_of_many_sizes_only_the_most_frequent_are_listed(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, defects={}, good=3)
    for number in range(12):
        save(home / "train" / "good" / f"other{number}.png", np.full((30 + number, 40, 3), number * 9 + 40, np.uint8))
    line = next(line for line in check(index(home)).format().splitlines() if line.startswith("sizes: "))
    assert line.startswith("sizes: 48x48 (6), 40x30 (1), ")
    assert line.endswith(", ... and 5 others")
    assert line.count("x") == 8


def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    check(index(write_mvtec(tmp_path)), lambda done, total: calls.append((done, total)))
    assert calls == [(i, 27) for i in range(1, 28)]


def test_few_images_are_warnings(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, defects={"hole": 4, "cut": 5}, good=49)
    assert found(check(index(home)), home) == [
        ("warning", ".", "4 images of hole; fewer than 5 show little variation"),
        ("warning", ".", "49 good images; fewer than 50 show little variation"),
    ]


def test_no_defects_is_a_warning_because_the_backbone_can_be_trained(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, defects={}, good=50)
    report = check(index(home))
    assert found(report, home) == [("warning", ".", "no defect images; only the backbone can be trained")]
    require_trainable(report)


def test_same_pixels_twice_in_a_kind_is_a_warning_whatever_the_format(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, good=50)
    from PIL import Image

    Image.open(home / "train" / "good" / "003.png").save(home / "train" / "good" / "copy.bmp")
    assert found(check(index(home)), home) == [
        ("warning", "train/good/copy.bmp", "same pixels as train/good/003.png; keep one")
    ]


def test_same_pixels_in_train_and_test_is_a_warning(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, good=50)
    (home / "train/good/000.png").write_bytes((home / "test/good/001.png").read_bytes())
    assert found(check(index(home)), home) == [
        ("warning", "train/good/000.png", "same pixels as test/good/001.png; keep one")
    ]


def test_mixed_sizes_are_a_warning(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, good=50)
    save(home / "train" / "good" / "wide.png", np.full((40, 64, 3), 90, np.uint8))
    assert found(check(index(home)), home) == [
        ("warning", ".", "2 image sizes: 48x48 (65), 64x40 (1); crop them alike, or all are fitted")
    ]


def test_visa_index_masks_and_combined_kinds_raise_no_warning(tmp_path: Path) -> None:
    home = write_visa(tmp_path, defects={"hole": 5, "cut": 5}, good=50)
    assert check(index(home)).problems == ()


def test_an_error_in_one_defect_does_not_stop_another(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, good=50)
    (home / "ground_truth" / "hole" / "002_mask.png").unlink()
    report = check(index(home))
    require_trainable(report, ["cut"])
    with pytest.raises(DataError, match=r"test/hole/002\.png: no mask"):
        require_trainable(report, ["cut", "hole"])
    with pytest.raises(DataError, match=r"test/hole/002\.png: no mask"):
        require_trainable(report)


def test_an_error_in_a_good_image_stops_every_defect(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, good=50)
    (home / "train" / "good" / "007.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"train/good/007\.png: not an image"):
        require_trainable(check(index(home)), ["cut"])


def test_require_trainable_counts_the_other_errors() -> None:
    problems = tuple(Problem("error", Path(f"d/{i}.png"), "broken") for i in range(3))
    report = Report(Path("d"), "mvtec", "nut", {}, 50, 0, {}, {}, (*problems, Problem("warning", Path("d"), "w")))
    with pytest.raises(DataError) as caught:
        require_trainable(report)
    assert str(caught.value) == (
        "d/0.png: broken (and 2 more errors); run `defect-synth check d` to see everything"
    ).replace("d/0.png", str(Path("d/0.png")))


def test_formatted_report_is_a_table_with_problems_below(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path, defects={"hole": 5, "scratch_on_rim": 1}, good=60, good_test=2)
    lines = check(index(home)).format().splitlines()
    assert lines[0] == f"nut: mvtec layout in {home}"
    assert lines[3].split() == ["good", "60"]
    assert lines[4].split() == ["good", "(test)", "2"]
    assert lines[6].split()[:2] == ["scratch_on_rim", "1"]
    assert lines[8] == "sizes: 48x48 (68)"
    assert lines[9] == "1 error, 0 warnings"
    assert lines[10].startswith("  error    ")
    assert lines[10].endswith("1 image of scratch_on_rim; training needs 2 and works well from 5")


def test_long_lists_are_cut() -> None:
    problems = tuple(Problem("warning", Path(f"d/{i:02d}.png"), "odd") for i in range(30))
    text = Report(Path("d"), "mvtec", "nut", {}, 50, 0, {}, {}, problems).format(limit=5)
    assert text.splitlines()[-2:] == ["  warning  04.png: odd", "  ... and 25 more warnings"]


def test_the_mask_of_a_good_image_must_be_empty(tmp_path: Path) -> None:
    path = write_csv(tmp_path, good=50)
    save(path.parent / "labels" / "black.png", np.zeros((48, 48), np.uint8))
    path.write_text(path.read_text().replace("images/good_3.png,,", "images/good_3.png,labels/black.png,"))
    assert check(index(path)).problems == ()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
@pytest.mark.parametrize("name", ["mvtec_bottle_900px", "mvtec_hazelnut_mini", "hazelnut_toy"])
def test_real_folders_have_no_errors(name: str) -> None:
    require_trainable(check(index(SHARED / name)))
