import numpy as np
import pytest

from defect_synth.benchmark.labelled import LabelledArrays, PartitionArrays, load_partition
from defect_synth.benchmark.partitioning import make_partition
from defect_synth.data.images import read_image
from defect_synth.data.layouts import index
from defect_synth.errors import DataError
from tests.benchmark.squares import CLASSES, squares
from tests.fake_data import write_mvtec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(images=np.zeros((2, 4, 4), np.uint8)), r"images must be uint8 \[N, H, W, 3\]"),
        (dict(labels=np.zeros(3, np.int64)), r"labels must be int64 \[2\]"),
        (dict(labels=np.array([0, 5])), r"labels must be 0\.\.2, got 0\.\.5"),
        (dict(names=("a", "a")), "expected 2 different names, got 1"),
        (dict(masks=np.zeros((2, 5, 4), np.uint8)), r"masks must be uint8 \[2, 4, 4\]"),
    ],
)
def test_arrays_that_do_not_match_are_refused(change, message):
    fine = dict(images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.array([0, 1]), classes=CLASSES, names=("a", "b"))
    LabelledArrays(**fine)
    with pytest.raises(DataError, match=message):
        LabelledArrays(**(fine | change))


def test_distinct_counts_pixels_and_not_names():
    arrays = squares(6, 0, "a")
    arrays.images[3] = arrays.images[0]
    assert arrays.distinct == 5


def test_a_test_image_cannot_train_under_any_name():
    base, test = squares(6, 0, "base"), squares(6, 1, "test")
    assert PartitionArrays("P1", base, None, test).validation is None
    with pytest.raises(DataError, match=r"partition P1: 6 images train and test, such as test/000\.png"):
        PartitionArrays("P1", squares(6, 0, "test"), None, test)
    base.images[4] = test.images[1]
    with pytest.raises(
        DataError, match=r"training image base/004\.png is pixel for pixel the test image test/001\.png"
    ):
        PartitionArrays("P1", base, None, test)


def test_a_partition_is_read_with_masks_and_optionally_good_images(tmp_path):
    table = index(write_mvtec(tmp_path, defects={"cut": 15, "hole": 9}, good=10, good_test=4, size=32))
    table, partition = make_partition(table, "P1", 0.2, "all")

    arrays = load_partition(table, partition, 32)
    assert arrays.base.classes == ("cut", "hole")
    assert np.bincount(arrays.base.labels).tolist() == [4, 2]
    assert np.bincount(arrays.validation.labels).tolist() == [1, 1]
    assert np.bincount(arrays.test.labels).tolist() == [10, 6]
    for name, image in zip(arrays.test.names, arrays.test.images, strict=True):
        assert np.array_equal(image, read_image(table.root / name))
    assert arrays.base.masks.any((1, 2)).all()

    with_good = load_partition(table, partition, 32, with_good=True)
    assert with_good.base.classes == ("good", "cut", "hole")
    assert np.bincount(with_good.test.labels).tolist() == [4, 10, 6]
    assert not with_good.test.masks[:4].any()
