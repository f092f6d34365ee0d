import numpy as np
import pytest

from defect_synth.baselines.anomaly_source import ANY_DEFECT, AnomalySource
from defect_synth.baselines.cutout import Cutout
from defect_synth.baselines.cutpaste import CutPaste
from defect_synth.baselines.perlin import Perlin
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSource

NORMAL = np.random.default_rng(0).integers(1, 256, (3, 64, 48, 3), dtype=np.uint8)


class Dot(AnomalySource):
    """Blackens the second pixel, and nothing at every other call."""

    def __init__(self, normal):
        super().__init__("dot", "nut", normal)
        self.calls = 0

    def settings(self):
        return ""

    def simulate(self, image, rng):
        self.calls += 1
        if self.calls % 2 == 0:
            image[0, 1] = 0
        return image, {"call": self.calls}


def test_the_mask_is_what_changed_and_a_change_without_effect_is_drawn_again():
    source = Dot(NORMAL)
    assert isinstance(source, DefectSource)
    assert (source.category, source.defects) == ("nut", (ANY_DEFECT,))
    for number, sample in enumerate(source.sample(ANY_DEFECT, range(5)), start=1):
        assert np.argwhere(sample.mask).tolist() == [[0, 1]]
        parameters = sample.provenance.parameters
        assert parameters["call"] == 2 * number
        assert np.array_equal(sample.clean, NORMAL[int(parameters["good_image"])])
        assert not sample.image[0, 1].any()
    with pytest.raises(DataError, match="dot: seed 7 changed nothing in 20 normal images"):
        Dot(np.zeros_like(NORMAL)).sample(ANY_DEFECT, [7])
    with pytest.raises(DataError, match="dot needs at least one normal image"):
        Dot(NORMAL[:0])
    with pytest.raises(UnknownDefectError, match="unknown defect 'hole' for nut; known: defect"):
        Dot(NORMAL).sample("hole", [0])


def test_digests_tell_settings_and_normal_images_apart(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one texture")
    made = [
        Cutout("nut", NORMAL), Cutout("nut", NORMAL, "mean"), CutPaste("nut", NORMAL), CutPaste("nut", NORMAL, "scar"),
        Perlin("nut", NORMAL), Perlin("nut", NORMAL, tmp_path), Cutout("nut", NORMAL[:2]),
        Cutout("nut", NORMAL.reshape(3, 48, 64, 3)),
    ]  # fmt: skip
    digests = [source.digest for source in made]
    assert len(set(digests)) == len(made)
    assert Cutout("nut", NORMAL.copy()).digest == digests[0]
    (tmp_path / "a.png").write_bytes(b"another texture")
    assert Perlin("nut", NORMAL, tmp_path).digest not in digests
