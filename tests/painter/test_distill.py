"""A painter that learns from the samples of a DFMGAN besides the real images."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.painter import Painter
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.distill import draw_triplets
from defect_synth.painter.train import train_painter
from defect_synth.painter.training_batches import PainterBatches
from defect_synth.painter.training_images import DefectImage, NormalImage
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import DefectSample, Provenance
from tests.fake_data import fake_nut, write_mvtec


class FakeDFMGAN:
    """Draws nuts with a hole; samples of odd seeds show no defect under their mask."""

    digest = "fake"

    def __init__(self, *, category="nut", defects=("hole",), good=True, clean=True):
        self.category, self.defects = category, defects
        self.good, self.clean = good, clean

    def sample(self, defect, seeds):
        return [self._one(defect, seed) for seed in seeds]

    def _one(self, defect, seed):
        image, mask = fake_nut(np.random.default_rng(seed), 64, defect)
        clean = image.copy()
        clean[mask > 0] = (190, 140, 90)
        shown = image if self.good and seed % 2 == 0 else clean
        origin = Provenance("dfmgan", self.category, defect, seed)
        return DefectSample(shown, mask, defect, origin, clean if self.clean else None)


def real(count=4):
    return [DefectImage(*fake_nut(np.random.default_rng(100 + i), 64, "hole")) for i in range(count)]


def test_triplets_are_the_samples_that_show_a_defect():
    drawn = draw_triplets(FakeDFMGAN(), {"hole": real(), "cut": real()}, "nut", 4, seed=0)

    assert set(drawn.triplets) == {"hole"}  # the DFMGAN draws no cut
    assert len(drawn.triplets["hole"]) == len(drawn.normals) == 4
    for item, normal in zip(drawn.triplets["hole"], drawn.normals, strict=True):
        assert item.clean is normal.image
        assert (item.image[item.mask > 0].mean(axis=0) < item.clean[item.mask > 0].mean(axis=0) - 50).all()
        assert normal.synthetic


@pytest.mark.parametrize(
    ("dfmgan", "error", "message"),
    [
        (FakeDFMGAN(category="pill"), ConfigError, "'pill' and the images are of 'nut'"),
        (FakeDFMGAN(defects=("dent",)), ConfigError, "none of hole"),
        (FakeDFMGAN(clean=False), DataError, "no clean image"),
        (FakeDFMGAN(good=False), DataError, "train the DFMGAN longer"),
    ],
)
def test_a_dfmgan_that_cannot_be_learnt_from_is_refused(dfmgan, error, message):
    with pytest.raises(error, match=message):
        draw_triplets(dfmgan, {"hole": real()}, "nut", 8, seed=0)


def test_a_triplet_is_painted_on_its_own_clean_image_and_is_no_donor_for_others():
    image, mask = fake_nut(np.random.default_rng(5), 64, "hole")
    image[mask > 0] = (0, 0, 250)  # no real hole is blue
    clean = np.full_like(image, 99)
    normals = [NormalImage(np.full_like(image, 200), np.ones((64, 64), bool))]
    items = {"hole": [*real(3), DefectImage(image, mask, clean)]}

    batches = PainterBatches(normals, items, PAINT_TINY.model, Symmetry(), lambda d, f, s: mask, seed=0)
    batch = batches.paintings(0, 16, pairs=0, donor_prob=1.0)

    assert len(batches.exemplars["hole"]) == 3
    is_triplet = batch.view.mean(dim=(1, 2, 3)) < 0  # on the grey clean image
    assert 0 < is_triplet.sum() < 16
    rows = zip(batch.view, batch.mask, batch.donor, batch.has_donor, is_triplet, strict=True)
    for view, seen, donor, has_donor, own in rows:
        inside = (seen > 0).expand_as(view)
        assert ((donor == view) | inside).all()
        blue = donor[:, seen[0] > 0].mean(dim=1)
        assert bool(blue[2] > 0.7) == bool(own)
        assert has_donor or not own


def test_training_with_a_dfmgan_adds_masks_and_stores_real_images_only(tmp_path):
    table = index(write_mvtec(tmp_path, category="nut", defects={"hole": 3, "cut": 2}, good=3, size=48))
    lengths = {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.008, "triplets": 4, "kept_normals": 9}
    config = override(PAINT_TINY, lengths)

    def train(dfmgan, *, resume=False):
        train_painter(table, everything(table, 0.0, 0), config, tmp_path / "run", dfmgan=dfmgan, resume=resume)
        return Painter.load(tmp_path / "run")

    painter = train(FakeDFMGAN())

    count = {name: len(shapes) for name, shapes in painter._masks.shapes.items()}
    assert count == {"hole": 3 + 4, "cut": 2}
    assert len(painter._normals) == 3
    assert painter.card.reference == 48  # the DFMGAN's images are of 64 pixels
    with pytest.raises(CheckpointError, match="dfmgan"):
        train(None, resume=True)


def test_the_command_line_refuses_a_dfmgan_of_another_category_or_for_another_method(tmp_path):
    import torch
    from typer.testing import CliRunner

    from defect_synth.cli import app
    from defect_synth.dfmgan.checkpoint import DFMGANCard
    from defect_synth.dfmgan.config import TINY
    from defect_synth.dfmgan.generator import DFMGAN
    from defect_synth.engine.checkpoint import save_checkpoint

    data = write_mvtec(tmp_path, category="nut", defects={"hole": 2}, good=3, size=48)
    file = tmp_path / "dfmgan.safetensors"
    card = DFMGANCard(kind="dfmgan", model=TINY.model, category="pill", defect="hole")
    with torch.random.fork_rng(devices=[]):
        save_checkpoint(file, card, DFMGAN(TINY.model).state_dict())
    command = ["train", str(data), "-o", str(tmp_path / "run"), "--from-dfmgan", str(file)]

    other = CliRunner().invoke(app, [*command, "--preset", "PAINT_TINY"], env={"COLUMNS": "400"})
    wrong = CliRunner().invoke(app, [*command, "--method", "dfmgan"])

    assert other.exit_code != 0
    assert "'pill' and the images are of 'nut'" in other.output + str(other.exception)
    assert not (tmp_path / "run").exists()
    assert wrong.exit_code != 0
    assert "it is for painter" in wrong.output + str(wrong.exception)
