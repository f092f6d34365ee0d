import numpy as np
import pytest

from defect_synth.baselines.crop_paste import CropPaste
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import FiniteSource
from tests.fake_data import fake_category


@pytest.fixture(scope="module")
def real():
    made = list(fake_category({"cut": 3, "hole": 4}, good=5, size=32, seed=0))
    defects = {
        name: tuple(np.stack([row[i] for row in made if row[0] == name]) for i in (2, 3)) for name in ("cut", "hole")
    }
    return defects, np.stack([image for defect, _, image, _ in made if defect is None])


def test_each_pair_is_made_once_and_there_are_no_more(real):
    defects, normal = real
    source = CropPaste("nut", defects, normal)
    assert isinstance(source, FiniteSource)
    assert source.seeds("hole") == tuple(range(5 * 4))
    samples = source.sample("hole", range(20))
    pairs = {(s.provenance.parameters["good_image"], s.provenance.parameters["defect_image"]) for s in samples}
    assert len(pairs) == 20
    assert len({s.provenance.parameters["good_image"] for s in samples[:8]}) > 2  # the first few show several objects
    with pytest.raises(DataError, match=r"20 images of hole \(5 normal x 4 defect images\) and no seed 20"):
        source.sample("hole", [20])


def test_the_defect_is_pasted_where_it_was_and_nothing_else_is(real):
    defects, normal = real
    for sample in CropPaste("nut", defects, normal).sample("cut", [0, 7, 14]):
        images, masks = defects["cut"]
        crop, background = (int(sample.provenance.parameters[k]) for k in ("defect_image", "good_image"))
        inside = masks[crop] == 1
        assert np.array_equal(sample.mask, masks[crop])
        assert np.array_equal(sample.image[inside], images[crop][inside])
        assert np.array_equal(sample.image[~inside], normal[background][~inside])
        assert np.array_equal(sample.clean, normal[background])


def test_errors_name_what_cannot_be_used(real):
    defects, normal = real
    with pytest.raises(DataError, match="at least one normal image"):
        CropPaste("nut", defects, normal[:0])
    with pytest.raises(DataError, match="images and masks of cut of the size of the normal images"):
        CropPaste("nut", defects, normal[:, :16])
    with pytest.raises(UnknownDefectError):
        CropPaste("nut", defects, normal).sample("crack", [0])
