import pytest

from defect_synth.benchmark.partitioning import learnable, make_partition
from defect_synth.data.layouts import index
from defect_synth.data.partitions import split
from defect_synth.errors import ConfigError
from tests.fake_data import write_mvtec


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return index(write_mvtec(root, defects={"cut": 24, "hole": 18}, good=8, good_test=2, size=32))


def test_the_papers_partitions_are_those_of_training(table):
    for name in ("P1", "P2", "P3"):
        assert make_partition(table, name, 0.2, "all") == (table, split(table, name, 0.2))


def test_random_partitions_differ_and_keep_the_papers_sizes(table):
    drawn = [make_partition(table, f"R{i}", 0.25, "all")[1] for i in (1, 2, 3)]
    assert len({p.defects["hole"].test for p in drawn}) == 3
    for p in drawn:
        parts = p.defects["hole"]
        assert (len(parts.base), len(parts.validation), len(parts.test)) == (4, 2, 12)
        p.require_match(table)
    assert make_partition(table, "R2", 0.25, "all")[1] == drawn[1]


@pytest.mark.parametrize("name", ["P1", "R1"])
def test_fewer_shots_are_subsets_with_the_same_test_set(table, name):
    whole = make_partition(table, name, 0.2, "all")[1]
    seen = []
    for shots in (1, 2, 5):
        fewer, partition = make_partition(table, name, 0.2, shots)
        partition.require_match(fewer)
        parts = partition.defects["cut"]
        assert len(parts.base) + len(parts.validation) == shots
        assert len(parts.validation) == (1 if shots == 5 else 0)
        assert parts.test == whole.defects["cut"].test
        seen.append(set(parts.base))
    assert seen[0] < seen[1] < seen[2]


def test_the_learnable_part_names_no_test_image(table):
    shots_table, partition = make_partition(table, "P1", 0.2, 5)
    bare_table, bare = learnable(shots_table, partition)
    bare.require_match(bare_table)
    tests = {name for parts in (*partition.defects.values(), partition.good) for name in parts.test}
    assert tests
    assert tests.isdisjoint(record.name for record in bare_table.records)
    assert tests.isdisjoint(bare.model_dump_json().split('"'))
    assert bare.defects["hole"].base == partition.defects["hole"].base


@pytest.mark.parametrize(
    ("name", "shots", "message"),
    [
        ("P4", "all", r"unknown partition 'P4'; known: P1, P2, P3, R1, R2"),
        ("R0", "all", "unknown partition 'R0'"),
        ("P1", 0, "shots must be 1 or more"),
        ("P1", 7, "shots 7 is more than the 6 base images of hole"),
    ],
)
def test_impossible_partitions_are_named(table, name, shots, message):
    with pytest.raises(ConfigError, match=message):
        make_partition(table, name, 0.2, shots)
