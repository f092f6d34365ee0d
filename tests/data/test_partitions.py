from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from defect_synth.data.layouts import Record, Table, index
from defect_synth.data.partitions import PART_SEEDS, Partition, Parts, everything, split
from defect_synth.errors import ConfigError, DataError, OutputError, UnknownDefectError
from tests.fake_data import fake_nut, save, write_csv, write_folders, write_mvtec


def table_of(defects: dict[str, int], good: int = 10, good_test: int = 4) -> Table:
    names = [(f"train/good/{i:03d}.png", None, "train") for i in range(good)]
    names += [(f"test/good/{i:03d}.png", None, "test") for i in range(good_test)]
    names += [(f"test/{d}/{i:03d}.png", d, "test") for d, count in defects.items() for i in range(count)]
    records = tuple(Record(Path("nut") / n, None, d, s, n) for n, d, s in sorted(names, key=lambda entry: entry[0]))
    return Table(Path("nut"), "mvtec", "nut", records)


HAZELNUT = {"crack": 18, "cut": 17, "hole": 18, "print": 17}


@pytest.mark.parametrize("name", ["P1", "P2", "P3"])
def test_hazelnut_has_five_or_six_base_and_twelve_test_images_as_in_the_paper(name: str) -> None:
    partition = split(table_of(HAZELNUT), name, 0)
    assert {defect: len(parts.base) for defect, parts in partition.defects.items()} == {
        "crack": 6,
        "cut": 5,
        "hole": 6,
        "print": 5,
    }
    assert [len(parts.test) for parts in partition.defects.values()] == [12] * 4


@pytest.mark.parametrize("fraction", [0, 0.2, 0.5])
def test_every_image_is_in_exactly_one_part(fraction: float) -> None:
    table = table_of(HAZELNUT)
    partition = split(table, "P2", fraction)
    names = [
        name
        for parts in [*partition.defects.values(), partition.good]
        for name in chain(parts.base, parts.validation, parts.test)
    ]
    assert sorted(names) == sorted(record.name for record in table.records)


def test_partitions_differ_and_are_the_same_each_time() -> None:
    table = table_of(HAZELNUT)
    bases = {name: split(table, name, 0).defects["crack"].base for name in PART_SEEDS}
    assert len(set(bases.values())) == 3
    assert all(split(table, name, 0).defects["crack"].base == base for name, base in bases.items())


def test_p1_is_the_same_on_every_machine() -> None:
    base = split(table_of(HAZELNUT), "P1", 0).defects["hole"].base
    assert [Path(name).stem for name in base] == ["000", "004", "007", "008", "014", "017"]


def test_order_of_records_does_not_matter() -> None:
    table = table_of(HAZELNUT)
    turned = Table(table.root, table.layout, table.category, table.records[::-1])
    assert split(turned, "P1", 0.2) == split(table, "P1", 0.2)


def test_another_defect_changes_nothing() -> None:
    both, alone = split(table_of(HAZELNUT), "P1", 0.2), split(table_of({"cut": 17}), "P1", 0.2)
    assert both.defects["cut"] == alone.defects["cut"]
    assert both.good == alone.good


def test_validation_fraction_leaves_the_test_set_alone() -> None:
    without, with_it = (split(table_of(HAZELNUT), "P3", fraction) for fraction in (0, 0.4))
    for defect, parts in with_it.defects.items():
        assert parts.test == without.defects[defect].test
        assert tuple(sorted(parts.base + parts.validation)) == without.defects[defect].base


@pytest.mark.parametrize(
    ("count", "fraction", "validation"),
    [(1, 0.9, 0), (2, 0.9, 0), (3, 0.9, 1), (4, 0.1, 0), (5, 0.01, 1), (5, 0.9, 3), (10, 0.2, 2), (10, 0, 0)],
)
def test_validation_of_a_defect_never_leaves_fewer_than_two(count: int, fraction: float, validation: int) -> None:
    parts = everything(table_of({"hole": count}), fraction, 0).defects["hole"]
    assert (len(parts.base), len(parts.validation), parts.test) == (count - validation, validation, ())


def test_good_validation_is_capped_and_good_test_is_the_sources() -> None:
    good = split(table_of(HAZELNUT, good=391, good_test=40), "P1", 0.2).good
    assert (len(good.base), len(good.validation)) == (371, 20)
    assert good.test == tuple(f"test/good/{i:03d}.png" for i in range(40))


def test_a_single_image_is_base() -> None:
    parts = split(table_of({"hole": 1}), "P1", 0.2).defects["hole"]
    assert (len(parts.base), len(parts.test)) == (1, 0)


def test_everything_uses_all_defects_although_mvtec_calls_them_test() -> None:
    partition = everything(table_of(HAZELNUT), 0, 0)
    assert {defect: len(parts.base) for defect, parts in partition.defects.items()} == HAZELNUT


def test_everything_keeps_a_users_own_test_images_out(tmp_path: Path) -> None:
    table = index(write_csv(tmp_path, split=True))
    parts = everything(table, 0, 0).defects["cut"]
    assert parts.test == ("images/cut_5.png",)
    assert len(parts.base) == 5


def test_everything_refuses_a_defect_that_is_all_test(tmp_path: Path) -> None:
    path = write_csv(tmp_path, split=True)
    path.write_text(path.read_text().replace(",cut,train", ",cut,test"))
    with pytest.raises(DataError, match=r"all 6 images of cut are marked test in .*; mark some train"):
        everything(index(path), 0, 0)


def test_records_are_those_of_the_part(tmp_path: Path) -> None:
    table = index(write_mvtec(tmp_path))
    partition = split(table, "P1", 0.2)
    base = partition.records(table, "base", "hole")
    assert {record.defect for record in base} == {"hole"}
    assert tuple(record.name for record in base) == partition.defects["hole"].base
    assert {record.split for record in partition.records(table, "test", None)} == {"test"}
    with pytest.raises(UnknownDefectError, match=r"unknown defect 'dent' for nut; known: cut, hole"):
        partition.records(table, "base", "dent")


def test_saved_partition_loads_equal(tmp_path: Path) -> None:
    partition = split(table_of(HAZELNUT), "P2", 0.2)
    partition.save(tmp_path / "p.json")
    assert Partition.load(tmp_path / "p.json") == partition
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_names_do_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    here, there = (index(write_folders(tmp_path / place)) for place in ("a", "b/c"))
    assert split(here, "P1", 0.2) == split(there, "P1", 0.2)


def test_a_changed_folder_is_refused_with_names(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path)
    partition = split(index(home), "P1", 0.2)
    (home / "test/hole/002.png").unlink()
    (home / "ground_truth/hole/002_mask.png").unlink()
    save(home / "train/good/new.png", fake_nut(np.random.default_rng(9), 48)[0])
    with pytest.raises(DataError) as caught:
        partition.records(index(home), "base", "cut")
    assert str(caught.value) == (
        f"partition P1 does not fit the images in {home}: 1 gone (test/hole/002.png), 1 added (train/good/new.png); "
        "restore them or make the partition anew"
    )


def test_a_changed_kind_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path)
    partition = split(index(path), "P1", 0.2)
    path.write_text(path.read_text().replace("cut_1.png,cut", "cut_1.png,hole"))
    with pytest.raises(DataError, match=r": 1 with another defect \(images/cut_1.png\); restore"):
        partition.require_match(index(path))


def test_an_image_in_two_parts_is_refused(tmp_path: Path) -> None:
    good = Parts(base=("a.png",))
    with pytest.raises(ValueError, match=r"a\.png is in two parts"):
        Partition(name="P1", seed=1, category="nut", defects={"hole": Parts(base=("a.png",))}, good=good)
    text = '{"name": "P1", "seed": 1, "category": "nut", "defects": {}, "good": {"base": ["a"], "test": ["a"]}}'
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DataError, match=r"p.json is no valid partition: a is in two parts; make it anew"):
        Partition.load(tmp_path / "p.json")


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown partition 'P4'; known: P1, P2, P3"):
        split(table_of({}), "P4", 0.2)
    with pytest.raises(ConfigError, match=r"validation_fraction must be >= 0 and < 1, got 1.5"):
        split(table_of({}), "P1", 1.5)
    with pytest.raises(DataError, match=r"cannot read the partition"):
        Partition.load(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*p.json: a file stands where a folder is needed"):
        split(table_of({}), "P1", 0.2).save(tmp_path / "file" / "p.json")
    split(table_of({}), "P1", 0.2).save(tmp_path / "new" / "p.json")
    assert Partition.load(tmp_path / "new" / "p.json").name == "P1"
