"""Finetune, DiffAug and CDC: their terms, their training, their samples."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from defect_synth.baselines.cdc import CDC
from defect_synth.baselines.cdc_discriminator import CDCDiscriminator
from defect_synth.baselines.cdc_losses import distance_consistency, similarities
from defect_synth.baselines.diffaug import DiffAug
from defect_synth.baselines.differentiable_augmentation import NUM_UNIFORMS, DiffAugmentation, diff_augment
from defect_synth.baselines.finetune import Finetune
from defect_synth.baselines.schedules import continued
from defect_synth.baselines.train import is_system, open_system, settings_of, train_system
from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import TINY, AugmentConfig
from defect_synth.dfmgan.discriminators import build_discriminator
from defect_synth.engine.checkpoint import load_checkpoint
from defect_synth.errors import CheckpointError, ConfigError, DataError, UnknownDefectError
from tests.fake_data import write_mvtec

SHORT = {
    "pretrain.total_kimg": 0.048, "transfer.total_kimg": 0.048, "pretrain.snapshot_kimg": 0.032,
    "transfer.snapshot_kimg": 0.032, "pretrain.micro_batch": 8, "transfer.micro_batch": 8,
}  # fmt: skip
CONFIG = override(TINY, SHORT)
SYSTEMS = {
    "finetune": Finetune(config=CONFIG),
    "diffaug": DiffAug(config=override(CONFIG, {"pretrain.augment": AugmentConfig(mode="none").model_dump()})),
    "cdc": CDC(config=override(CONFIG, {"transfer.augment": AugmentConfig(mode="none").model_dump()})),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return index(write_mvtec(tmp_path_factory.mktemp("data"), defects={"cut": 3, "hole": 3}, good=6, size=32))


@pytest.fixture(scope="module")
def runs(table, tmp_path_factory):
    made = {}
    for name, system in SYSTEMS.items():
        made[name] = tmp_path_factory.mktemp(name) / "run"
        train_system(system, table, everything(table, 0.0, 0), made[name], defects=["hole"])
    return made


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_killed_run_resumes_to_the_same_bytes(name, runs, table, tmp_path):
    def die(progress):
        if progress.stage == "hole" and progress.done_kimg >= 0.040:  # between two snapshots
            raise KilledError

    part, run = everything(table, 0.0, 0), tmp_path / "run"
    with pytest.raises(KilledError):
        train_system(SYSTEMS[name], table, part, run, defects=["hole"], report=die)
    train_system(SYSTEMS[name], table, part, run, defects=["hole"], resume=True)
    for file in ("model.safetensors", "state.safetensors"):
        assert (run / "defects/hole" / file).read_bytes() == (runs[name] / "defects/hole" / file).read_bytes()


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_depend_on_their_seed_alone_and_have_no_mask(name, runs):
    source = open_system(runs[name])
    assert (source.category, source.defects, source.resolution) == ("nut", ("hole",), 32)
    together = source.sample("hole", [5, 1, 7])
    for seed, sample in zip([5, 1, 7], together, strict=True):
        alone = open_system(runs[name]).sample("hole", [seed])[0]
        np.testing.assert_array_equal(sample.image, alone.image)
        assert sample.provenance.parameters == {"mask": "none"}
        assert not sample.mask.any()
    assert (together[0].image != together[1].image).any()
    with pytest.raises(UnknownDefectError, match="crack"):
        source.sample("crack", [0])


def test_finetune_and_cdc_move_every_weight_of_stage_1(runs):
    for name in ("finetune", "cdc"):
        before = load_checkpoint(runs[name] / "backbone" / "model.safetensors", DFMGANCard).tensors
        after = load_checkpoint(runs[name] / "defects" / "hole" / "model.safetensors", DFMGANCard).tensors
        moved = [
            key for key, value in before.items() if "noise_const" not in key and not torch.equal(value, after[key])
        ]
        trained = [key for key in before if "noise_const" not in key and "w_avg" not in key]
        assert set(trained) <= set(moved)


def test_a_given_stage_1_is_used_and_not_trained_again(runs, table, tmp_path):
    system = Finetune(config=CONFIG, pretrained=runs["finetune"])
    ended = train_system(system, table, everything(table, 0.0, 0), tmp_path / "run", defects=["hole"])
    assert list(ended) == ["hole"]
    given, own = (folder / "defects/hole/model.safetensors" for folder in (tmp_path / "run", runs["finetune"]))
    assert given.read_bytes() == own.read_bytes()


def test_other_settings_are_not_resumed(runs, table):
    system = Finetune(config=override(CONFIG, {"transfer.learning_rate": 0.001}))
    with pytest.raises(CheckpointError, match="was started with settings"):
        train_system(system, table, everything(table, 0.0, 0), runs["finetune"], defects=["hole"], resume=True)


def test_damaged_settings_are_one_line(runs, tmp_path):
    values = json.loads((runs["cdc"] / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(values | {"settings": {"method": "cdc", "consistency": -1}}))
    assert is_system(tmp_path)
    with pytest.raises(CheckpointError, match="consistency"):
        open_system(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(values | {"method": "dfmgan"}))
    with pytest.raises(CheckpointError, match="is a run of dfmgan"):
        open_system(tmp_path)


def test_one_base_image_is_too_few(tmp_path):
    table = index(write_mvtec(tmp_path, defects={"hole": 1}, good=6, size=32))
    with pytest.raises(DataError, match="hole"):
        train_system(SYSTEMS["diffaug"], table, everything(table, 0.0, 0), tmp_path / "run")


def test_settings_by_name():
    system = settings_of("cdc", "paper", resolution=128, seed=3, changes={"anchor_std": 0.1})
    assert (system.resolution, system.config.seed, system.anchor_std) == (128, 3, 0.1)
    # Ojha et al.: batch 4, learning rate 0.002, R1 10, 5,000 iterations, consistency 1000.
    stage = system.config.transfer
    assert (stage.batch, stage.learning_rate, stage.r1_gamma, stage.total_kimg) == (4, 0.002, 10.0, 20.0)
    assert system.consistency == 1000
    with pytest.raises(ConfigError, match="unknown method 'gan'; known: dfmgan, painter, finetune"):
        settings_of("gan", "fast")
    with pytest.raises(ConfigError, match="unknown preset 'TINY' for --method cdc; known: fast, paper"):
        settings_of("cdc", "TINY")
    with pytest.raises(ConfigError, match="anchor_std"):
        settings_of("cdc", "fast", changes={"anchor_std": -1})


def test_the_second_schedule_takes_the_place_of_the_first():
    config = override(CONFIG, {"transfer.learning_rate": 0.007, "transfer.total_kimg": 0.5})
    moved = continued(config).pretrain
    assert (moved.learning_rate, moved.total_kimg) == (0.007, 0.5)
    assert continued(config).model == config.model


# --- CDC


def test_similarities_are_a_softmax_over_the_cosines_to_all_others(rng):
    features = torch.randn(4, 3, 2, 2, generator=rng)
    flat = features.flatten(1)
    for i in range(4):
        cosines = torch.stack([F.cosine_similarity(flat[i], flat[j], dim=0) for j in range(4) if j != i])
        torch.testing.assert_close(similarities(features)[i], cosines.log_softmax(0))


def test_distance_consistency_is_exactly_zero_for_equal_networks_and_positive_otherwise(rng):
    source, target = torch.randn(2, 4, 8, generator=rng)
    assert distance_consistency(source, source) == 0
    assert distance_consistency(source, 3 * source) < 1e-9  # cosines do not see lengths
    q, p = similarities(target), similarities(source)
    by_hand = sum(float(q[i, j].exp() * (q[i, j] - p[i, j])) for i in range(4) for j in range(3)) / 4
    assert by_hand > 0
    assert float(distance_consistency(source, target)) == pytest.approx(by_hand, rel=1e-5)


def test_distance_consistency_has_a_gradient_for_the_target_alone(rng):
    source, target = (torch.randn(4, 8, generator=rng, requires_grad=True) for _ in range(2))
    distance_consistency(source.detach(), target).backward()
    assert target.grad is not None
    assert source.grad is None


def test_a_patch_logit_sees_a_patch_and_not_the_image(rng):
    discriminator = CDCDiscriminator(build_discriminator(TINY.model))
    assert discriminator.sides == (8, 4)
    image = torch.randn(1, 3, 32, 32, generator=rng, requires_grad=True)
    logits = discriminator.patches(image, 8)
    assert logits.shape == (1, 1, 8, 8)
    logits[0, 0, 0, 0].backward()
    seen = image.grad[0].abs().sum(0) > 0
    assert seen[:4, :4].all()
    assert not seen[-8:].any()
    assert not seen[:, -8:].any()
    assert discriminator(image).shape == (1, 1)


# --- DiffAug

NOTHING = [0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]  # but a hole whose centre is the corner


def drawn(*changes):
    rows = torch.tensor([NOTHING] * len(changes))
    for row, change in zip(rows, changes, strict=True):
        for place, value in change.items():
            row[place] = value
    return DiffAugmentation(rows)


def test_colour_terms_have_their_literal_values():
    image = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 3, 1, 1).repeat(1, 1, 16, 16)
    image[..., 8:] = 0.0
    place = (0, slice(None), 12, 4)  # not in the hole, left half
    assert diff_augment(image, drawn({0: 0.75}))[place].tolist() == pytest.approx([0.45, 0.65, 1.15])
    assert diff_augment(image, drawn({1: 0.0}))[place].tolist() == pytest.approx([0.5] * 3)
    mean = 0.25  # of the whole image
    expected = [mean + 1.25 * (value - mean) for value in (0.2, 0.4, 0.9)]
    assert diff_augment(image, drawn({2: 0.75}))[place].tolist() == pytest.approx(expected)


def test_translation_moves_zeros_in_and_reaches_an_eighth(rng):
    image = torch.randn(2, 3, 16, 16, generator=rng)
    out = diff_augment(image, drawn({3: 0.9999, 5: 0.9999, 6: 0.9999}, {4: 0.0, 5: 0.9999, 6: 0.9999}))
    assert (out[0, :, :2] == 0).all()  # down by 2
    torch.testing.assert_close(out[0, :, 2:8, :8], image[0, :, :6, :8])
    assert (out[1, :, :, 14:] == 0).all()  # left by 2
    torch.testing.assert_close(out[1, :, :8, :6], image[1, :, :8, 2:8])


def test_the_hole_is_half_a_side_and_may_hang_over(rng):
    image = torch.ones(2, 1, 16, 16)
    out = diff_augment(image, drawn({5: 0.5, 6: 0.5}, {}))
    assert [int((picture == 0).sum()) for picture in out] == [64, 16]  # whole; a quarter of it at the corner


def test_gradients_flow_through_all_of_it(rng):
    uniforms = DiffAugmentation(torch.rand(2, NUM_UNIFORMS, generator=rng))
    image = torch.randn(2, 3, 8, 8, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, uniforms), image)


def test_a_part_of_a_batch_is_augmented_as_in_the_whole(rng):
    image, uniforms = (
        torch.randn(4, 3, 16, 16, generator=rng),
        DiffAugmentation(torch.rand(4, NUM_UNIFORMS, generator=rng)),
    )
    whole = diff_augment(image, uniforms)
    torch.testing.assert_close(diff_augment(image[1:3], uniforms.part(1, 3)), whole[1:3])
