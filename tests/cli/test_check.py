"""`check` as a user types it: what it says of how parts lie, its page, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from defect_synth.cli import main
from tests.fake_data import save
from tests.fake_parts import draw


@pytest.fixture(scope="module")
def label(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check") / "label"
    for seed in range(9):
        save(folder / "good" / f"{seed}.png", draw("label", seed, side=96, angle=0.0, offset=0.01).image)
    save(folder / "good" / "turned.png", draw("label", 9, side=96, angle=1.5).image)
    return folder


def check(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["defect-synth", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


def test_it_says_how_parts_lie_which_are_doubtful_and_how_to_see_them_and_writes_nothing(
    label, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    before = sorted(label.rglob("*"))
    code, out, _ = check(monkeypatch, capsys, label)
    assert code == 0
    assert "the products lie all alike" in out
    assert "parts that lie like the others: good 9 of 10" in out
    assert "  doubtful  good/turned.png: unlike the mean part" in out
    assert "add --page FOLDER" in out
    assert sorted(label.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_written_where_it_is_asked_for(label, monkeypatch, capsys, tmp_path):
    code, out, _ = check(monkeypatch, capsys, label, "--page", tmp_path / "new" / "page", "--pose", "none")
    assert code == 0
    assert "anyhow, or as a texture" in out
    assert "doubtful" not in out
    assert out.splitlines()[-2:] == [str(tmp_path / "new" / "page" / name) for name in ("check.html", "check.png")]
    assert {path.name for path in (tmp_path / "new" / "page").iterdir()} == {"check.html", "check.png"}


def test_errors_of_the_data_still_end_with_2_and_a_page(label, monkeypatch, capsys, tmp_path):
    for number in range(3):
        save(tmp_path / "data" / "good" / f"{number}.png", draw("label", number, side=64, angle=0.0).image)
    (tmp_path / "data" / "good" / "bad.png").write_bytes(b"no image")
    code, out, _ = check(monkeypatch, capsys, tmp_path / "data", "--page", tmp_path / "page")
    assert code == 2
    assert "1 error" in out
    assert "not looked at because of errors: 1" in out
    assert (tmp_path / "page" / "check.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pose", "sideways"), "pose must be one of auto, aligned, any, none, got 'sideways'"),
        (("--page", "FILE"), "--page"),
    ],
)
def test_mistakes_are_one_line(label, monkeypatch, capsys, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    arguments = [str(tmp_path / "file") if word == "FILE" else word for word in arguments]
    code, out, err = check(monkeypatch, capsys, label, *arguments)
    assert code == 2
    assert "sizes: 96x96 (10)" in out
    assert message in err
    assert err.count("\n") == 1


def test_a_pose_that_cannot_be_found_is_refused_after_the_report(monkeypatch, capsys, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        save(tmp_path / "steel" / "good" / f"{number}.png", rng.integers(0, 255, (48, 48, 3)).astype(np.uint8))
    code, out, err = check(monkeypatch, capsys, tmp_path / "steel", "--pose", "any")
    assert code == 2
    assert "0 errors" in out
    assert "error: pose=any needs parts on a plain background" in err
