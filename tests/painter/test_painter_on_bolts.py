"""A painter of grey bolts that lie at any angle, whose defects are defined by the part they lie on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import DataError
from defect_synth.painter import Painter
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.product_assets import is_grey
from defect_synth.painter.train import train_painter
from tests.fake_bolts import BOLT_HEAD, BOLT_SHANK, bolt, scratched_bolt


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    root = tmp_path_factory.mktemp("bolts") / "bolt"

    def write(folder, name, picture):
        (root / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / folder / name), picture)

    for i in range(8):
        write("train/good", f"{i:03}.png", bolt(200 + i)[0][:, :, 0])  # grey files
    for part in ("head", "shank"):
        for i in range(4):
            image, mask = scratched_bolt(i, part)
            write(f"test/{part}", f"{i:03}.png", image[:, :, 0])
            write(f"ground_truth/{part}", f"{i:03}_mask.png", mask * 255)
    table = index(root)
    config = override(PAINT_TINY, {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.008})
    train_painter(table, everything(table, 0.0, 0), config, root.parent / "run")
    return Painter.load(root.parent / "run")


def test_a_painter_puts_defects_where_they_belong(painter):
    assert not painter.symmetry.aligned
    found = {"head": 0.0, "shank": 0.0}
    for defect in found:
        for sample in painter.sample(defect, range(20)):
            level = sample.clean[sample.mask > 0].mean()
            found[defect] += (abs(level - BOLT_HEAD) < abs(level - BOLT_SHANK)) / 20

    assert found["head"] > 0.75
    assert found["shank"] < 0.25


def test_a_grey_product_gets_grey_defects(painter):
    for donor_prob in (0.0, 1.0):
        source = Painter.load(painter.path, donor_prob=donor_prob)
        assert all(is_grey(s.image) for s in source.sample("head", range(6)))


def test_a_mask_may_be_asked_for_with_or_without_the_image(painter):
    image, product, _, _ = bolt(300)

    with_image, without_image = (painter.propose_mask("head", product, 3, image=i) for i in (image, None))

    assert with_image.any()
    assert without_image.any()
    assert np.array_equal(with_image, painter.propose_mask("head", product, 3, image))
    with pytest.raises(DataError, match=r"foreground must be \[128, 128\]"):
        painter.propose_mask("head", product[:100], 3, image)
