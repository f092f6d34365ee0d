from __future__ import annotations

import torch

from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.latents import Latents, draw_latents
from defect_synth.engine.draws import Draws

CPU = torch.device("cpu")
NOISE, DEFECT_NOISE = 20, 12


def latents(key=(0, 0, 0), batch=6, **changes):
    settings = {"mixing_prob": 0.5, "noise": NOISE, "defect_noise": DEFECT_NOISE, "second": True, **changes}
    return draw_latents(Draws(*key, CPU), batch, TINY.model, **settings)


def test_stage_2_has_codes_and_noise_of_both_networks_all_different():
    drawn = latents()
    assert len(drawn) == 6
    assert drawn.z_object.shape == drawn.z_defect.shape == drawn.z_object_mix.shape == (6, TINY.model.backbone.z_dim)
    assert drawn.noise_object.shape == (6, NOISE)
    assert drawn.noise_defect.shape == (6, DEFECT_NOISE)
    assert drawn.noise_object_2.shape == (3, NOISE)
    assert drawn.noise_defect_2.shape == (3, DEFECT_NOISE)
    codes = [drawn.z_object, drawn.z_defect, drawn.z_object_mix, drawn.z_defect_mix]
    assert len({tuple(c.flatten().tolist()) for c in codes}) == 4
    assert not torch.equal(drawn.noise_object[:3], drawn.noise_object_2)


def test_stage_1_has_no_codes_or_noise_of_defects():
    drawn = latents(defect_noise=0, second=False)
    assert drawn.z_defect is drawn.z_defect_mix is drawn.noise_defect is drawn.noise_defect_2 is None
    assert drawn.cut_defect is drawn.noise_object_2 is None


def test_the_object_is_the_same_with_and_without_a_defect():
    assert torch.equal(latents().z_object, latents(defect_noise=0, second=False).z_object)


def test_mixing_happens_as_often_as_asked_and_cuts_everywhere():
    assert latents(mixing_prob=0.0).cut_object is None
    cuts = [latents(key=(0, i, 0), batch=2, mixing_prob=1.0) for i in range(200)]
    assert {c.cut_object for c in cuts} == set(range(1, TINY.model.backbone.num_ws))
    assert {c.cut_defect for c in cuts} == set(range(1, TINY.model.num_defect_ws))
    mixed = sum(latents(key=(0, i, 0), batch=2, mixing_prob=0.3).cut_object is not None for i in range(200))
    assert 40 <= mixed <= 80


def test_a_part_has_its_samples_of_every_tensor():
    whole = latents(mixing_prob=1.0)
    part = whole.part(1, 3)
    assert len(part) == 2
    for name in ("z_object", "z_defect", "z_object_mix", "z_defect_mix", "noise_object", "noise_defect"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[1:3])
    assert (part.cut_object, part.cut_defect) == (whole.cut_object, whole.cut_defect)
    assert Latents(torch.zeros(4, 2)).part(0, 2).z_defect is None


def test_a_part_has_its_noise_of_the_second_pass_which_has_one_row_for_two_samples():
    rows = torch.arange(8.0)[:, None]
    latents = Latents(z_object=rows, noise_object_2=rows[:4])
    parts = [latents.part(start, start + 4) for start in (0, 4)]
    assert [part.z_object[:, 0].tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [part.noise_object_2[:, 0].tolist() for part in parts] == [[0, 1], [2, 3]]
