"""A generated folder: the same bytes however it came about, in one go, in parts, on several machines."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

import defect_synth.export.generated_folder as module
from defect_synth.data.png import write_png
from defect_synth.errors import ConfigError, OutputError, UnknownDefectError
from defect_synth.export.generated_folder import INDEX, SHEET, Shard, generate
from tests.fake_sources import Dots, tree

COUNT = 37
"""Samples of each of two defects: more than one chunk for each of up to four shards, and not a multiple."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    generate(Dots(), output, count=COUNT)
    return tree(output)


def test_the_folder_holds_every_sample_its_index_and_a_sheet_and_nothing_else(whole):
    lines = [json.loads(line) for line in whole[f"nut/{INDEX}"].splitlines()]
    assert [(line["defect"], line["seed"]) for line in lines] == [(d, s) for d in Dots.defects for s in range(COUNT)]
    named = {f"nut/{line[key]}" for line in lines for key in ("image", "mask", "clean")}
    assert whole.keys() == named | {f"nut/{INDEX}", f"nut/{SHEET}", "nut/.source"}
    assert len(named) == 3 * 2 * COUNT


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (3, 1, 4, 2), (4, 4, 3, 2, 2, 1)])
def test_shards_in_any_order_and_repeated_make_the_bytes_of_one_run(order, whole, tmp_path):
    sources = [Dots() for _ in order]
    for source, part in zip(sources, order, strict=True):
        generate(source, tmp_path, count=COUNT, shard=Shard(part, 4))
    assert tree(tmp_path) == whole
    assert sum(source.drawn for source in sources) == 2 * COUNT  # each sample once
    generate(Dots(), tmp_path, count=COUNT, shard=Shard(2, 4))
    assert tree(tmp_path) == whole


def test_index_and_sheet_wait_for_the_last_shard(tmp_path):
    for part in (1, 3):
        generate(Dots(), tmp_path, count=COUNT, shard=Shard(part, 3))
        assert not (tmp_path / "nut" / INDEX).exists()
        assert not (tmp_path / "nut" / SHEET).exists()
    generate(Dots(), tmp_path, count=COUNT, shard=Shard(2, 3))
    assert (tmp_path / "nut" / SHEET).exists()


def test_folders_of_machines_that_share_no_disk_can_be_copied_together(whole, tmp_path):
    for part in (1, 2):
        generate(Dots(), tmp_path / f"machine{part}", count=COUNT, shard=Shard(part, 2))
        shutil.copytree(tmp_path / f"machine{part}", tmp_path / "together", dirs_exist_ok=True)
    last = Dots()
    generate(last, tmp_path / "together", count=COUNT)
    assert tree(tmp_path / "together") == whole
    assert last.drawn == 0


def test_shards_that_finish_at_the_same_moment_do_not_lose_anything(whole, tmp_path, monkeypatch):
    # The second shard runs to its end between the first one's last sample and its look around.
    read, calls = module._read_all, []

    def late(root):
        calls.append(root)
        if len(calls) == 2:
            generate(Dots(), tmp_path, count=COUNT, shard=Shard(2, 2))
        return read(root)

    monkeypatch.setattr(module, "_read_all", late)
    generate(Dots(), tmp_path, count=COUNT, shard=Shard(1, 2))
    assert tree(tmp_path) == whole


@pytest.mark.parametrize("shard", [None, Shard(1, 2)])
def test_a_stopped_run_leaves_what_it_has_and_is_continued(shard, whole, tmp_path):
    def stop(done, total):
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(Dots(), tmp_path, count=COUNT, shard=shard, progress=stop)
    if shard is None:
        assert len((tmp_path / "nut" / INDEX).read_text().splitlines()) == 16
    rest = Dots()
    generate(rest, tmp_path, count=COUNT)
    assert rest.drawn == 2 * COUNT - 16
    assert tree(tmp_path) == whole


def test_a_journal_line_cut_in_half_by_a_crash_is_drawn_again(whole, tmp_path):
    generate(Dots(), tmp_path, count=COUNT, shard=Shard(1, 2))
    journal = tmp_path / "nut" / ".part-1-of-2.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    again = Dots()
    generate(again, tmp_path, count=COUNT, shard=Shard(1, 2))
    assert again.drawn == 1
    generate(Dots(), tmp_path, count=COUNT, shard=Shard(2, 2))
    assert tree(tmp_path) == whole


def test_a_larger_run_keeps_the_samples_of_a_smaller_one(whole, tmp_path):
    generate(Dots(), tmp_path, count=5)
    for part in (2, 1):
        generate(Dots(), tmp_path, count=COUNT, shard=Shard(part, 2))
    assert tree(tmp_path) == whole


def test_the_index_is_written_once_however_many_samples(tmp_path, monkeypatch):
    write, written = module._write_index, []
    monkeypatch.setattr(module, "_write_index", lambda path, lines: (written.append(path), write(path, lines)))
    generate(Dots(), tmp_path, count=80)
    assert len(written) == 1


def test_progress_counts_this_shard_only(tmp_path):
    seen = []
    generate(Dots(), tmp_path, count=10, shard=Shard(1, 4), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/", "/2", "a/b", "1/0", "-1/2", "1/2/3", " 1/2", "1.0/2", ""])
def test_a_malformed_shard_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"--shard must be PART/PARTS .* such as 2/8; got"):
        Shard.parse(text)


def test_a_shard_is_read_as_part_of_parts():
    assert Shard.parse("2/8") == Shard(2, 8)


def test_a_folder_of_another_source_is_refused_also_when_only_a_journal_is_there(tmp_path):
    generate(Dots(), tmp_path, count=3, shard=Shard(1, 2))
    with pytest.raises(OutputError, match="samples of another source"):
        generate(Dots("other"), tmp_path, count=3, shard=Shard(2, 2))


def test_an_unknown_defect_is_named(tmp_path):
    with pytest.raises(UnknownDefectError, match="known: cut, hole"):
        generate(Dots(), tmp_path, count=1, defects=["print"])


PICTURES = ("test/cut/000001.png", "ground_truth/cut/000001_mask.png", "clean/cut/000001.png")


@pytest.mark.parametrize("shard", [None, Shard(1, 2)])
@pytest.mark.parametrize("damage", ["removed", "empty", "truncated", "changed", "of another size"])
@pytest.mark.parametrize("name", [*PICTURES, SHEET])
def test_a_picture_that_is_missing_or_damaged_is_made_again(name, damage, shard, whole, tmp_path):
    generate(Dots(), tmp_path, count=2)
    path = tmp_path / "nut" / name
    data = path.read_bytes()
    path.unlink()
    if damage == "of another size":
        write_png(path, np.zeros((5, 8, 3), np.uint8))
    elif damage != "removed":
        path.write_bytes({"empty": b"", "truncated": data[:-20], "changed": data[:60] + b"?" + data[61:]}[damage])
    drawing = [Dots(), Dots()]
    for source, part in zip(drawing, [shard, shard and Shard(2, 2)][: 1 + bool(shard)], strict=False):
        generate(source, tmp_path, count=COUNT, shard=part)
    assert tree(tmp_path) == whole
    assert sum(source.drawn for source in drawing) == 2 * COUNT - 4 + (name != SHEET)


def test_a_damaged_picture_beyond_the_count_is_made_again_too(tmp_path):
    generate(Dots(), tmp_path, count=3)
    before = tree(tmp_path)
    (tmp_path / "nut/test/hole/000002.png").unlink()
    generate(Dots(), tmp_path, count=1, defects=["cut"])
    assert tree(tmp_path) == before


@pytest.mark.parametrize("cut", [1, 20, 300, 10**6])
def test_a_truncated_index_is_written_again(cut, whole, tmp_path, caplog):
    generate(Dots(), tmp_path, count=COUNT)
    path = tmp_path / "nut" / INDEX
    path.write_bytes(path.read_bytes()[:-cut])
    generate(Dots(), tmp_path, count=COUNT)
    assert tree(tmp_path) == whole
    assert ("1 lines are damaged and left out" in caplog.text) == (cut in (20, 300))


@pytest.mark.parametrize(
    "line", [b"[" * 10**5, b"7", b'{"defect": "cut"}', b"\xff", b'{"defect": "../x", "seed": 1, "image": "a"}']
)
def test_a_foreign_line_of_the_index_is_left_out_and_said(line, whole, tmp_path, caplog):
    generate(Dots(), tmp_path, count=COUNT)
    path = tmp_path / "nut" / INDEX
    path.write_bytes(line + b"\n" + path.read_bytes())
    generate(Dots(), tmp_path, count=COUNT)
    assert tree(tmp_path) == whole
    assert caplog.text.count("1 lines are damaged and left out") == 1


@pytest.mark.parametrize("mark", [None, b"", b"do", b"\xff\x00"])
def test_a_folder_whose_mark_is_lost_is_continued_by_the_source_that_made_it_only(mark, whole, tmp_path):
    generate(Dots(), tmp_path, count=2)
    path = tmp_path / "nut/.source"
    path.unlink()
    if mark is not None:
        path.write_bytes(mark)
    with pytest.raises(OutputError, match="samples of another source"):
        generate(Dots("others"), tmp_path, count=COUNT)
    generate(Dots(), tmp_path, count=COUNT)
    assert tree(tmp_path) == whole


def test_two_sources_at_once_in_one_folder_one_is_refused_and_the_folder_is_fine(whole, tmp_path):
    for shard in (None, Shard(1, 2)):
        refused = []

        def other(done, total, shard=shard, refused=refused):
            if not refused:
                with pytest.raises(OutputError, match=r"another (process is writing|source)") as error:
                    generate(Dots("others"), tmp_path, count=2, shard=shard)
                refused.append(str(error.value))

        generate(Dots(), tmp_path, count=COUNT, shard=shard, progress=other)
        assert len(refused) == 1
        assert "\n" not in refused[0]
    assert tree(tmp_path) == whole


def test_what_a_killed_process_left_half_written_is_removed(whole, tmp_path):
    (tmp_path / "nut/test/cut").mkdir(parents=True)
    (tmp_path / "nut/.lock").touch()
    (tmp_path / "nut/test/cut/.000001.0123456789ab.part.png").write_bytes(b"half")
    generate(Dots(), tmp_path, count=COUNT)
    assert tree(tmp_path) == whole


def test_a_picture_that_is_a_fifo_is_made_again(tmp_path):
    folder = generate(Dots(), tmp_path, count=1)
    picture = sorted(folder.glob("test/*/000000.png"))[0]
    before = picture.read_bytes()
    picture.unlink()
    os.mkfifo(picture)
    generate(Dots(), tmp_path, count=1)
    assert picture.read_bytes() == before
