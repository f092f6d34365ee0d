"""A generated folder: the same bytes however it came about, in one go, in parts, on several machines."""

from __future__ import annotations

import json
import shutil

import pytest

import defect_synth.export.generated_folder as module
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


def test_an_unknown_defect_and_a_damaged_index_are_named(tmp_path):
    with pytest.raises(UnknownDefectError, match="known: cut, hole"):
        generate(Dots(), tmp_path, count=1, defects=["print"])
    (tmp_path / "nut").mkdir()
    (tmp_path / "nut" / INDEX).write_text('{"defect": "cu')
    with pytest.raises(OutputError, match="damaged"):
        generate(Dots(), tmp_path, count=1)
