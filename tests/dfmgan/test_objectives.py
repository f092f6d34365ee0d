"""Which networks a phase moves, and that its terms are the losses they are named after."""

from __future__ import annotations

import pytest
import torch

from defect_synth.config import override
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.latents import draw_latents
from defect_synth.dfmgan.losses import generator_loss, mode_seeking_loss, path_lengths, soft_mask
from defect_synth.dfmgan.objectives import saturation_guard
from defect_synth.engine.draws import Draws

BATCH = 4


@pytest.fixture
def discriminators():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        networks = build_discriminator(TINY.model), build_match_discriminator(TINY.model)
    for network in networks:
        network.requires_grad_(False)
    return networks


def latents_of(generator, *, mixing_prob=1.0, second=False):
    return draw_latents(
        Draws(0, 0, 0, torch.device("cpu")), BATCH, TINY.model, mixing_prob=mixing_prob, second=second,
        noise=generator.backbone.noise_numel, defect_noise=generator.defect_noise_numel,
    )  # fmt: skip


def transfer_config(**settings):
    return override(TINY, {f"transfer.{name.replace('__', '.')}": value for name, value in settings.items()}).transfer


class TestTransferGenerator:
    def test_no_gradient_reaches_the_frozen_backbone_and_everything_else_learns(self, dfmgan, discriminators):
        dfmgan.backbone.requires_grad_(False)
        before = {name: value.clone() for name, value in dfmgan.backbone.state_dict().items()}
        objectives.transfer_generator(dfmgan, *discriminators, latents_of(dfmgan), TINY.transfer).loss.backward()
        assert all(p.grad is None for p in dfmgan.backbone.parameters())
        assert all(torch.equal(value, before[name]) for name, value in dfmgan.backbone.state_dict().items())
        trained = {**dict(dfmgan.residual.named_parameters()), **dict(dfmgan.defect_mapping.named_parameters())}
        for name, parameter in trained.items():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name

    def test_the_trunk_has_no_graph_even_where_the_backbone_is_not_frozen(self, dfmgan, discriminators):
        objectives.transfer_generator(dfmgan, *discriminators, latents_of(dfmgan), TINY.transfer).loss.backward()
        assert all(p.grad is None for p in dfmgan.backbone.mapping.parameters())
        assert all(p.grad is None for p in dfmgan.backbone.synthesis.block(4).parameters())

    def test_the_average_defect_code_moves_and_the_average_object_code_stays(self, dfmgan, discriminators):
        latents = latents_of(dfmgan)
        w_object, w_defect = dfmgan.backbone.mapping.w_avg.clone(), dfmgan.defect_mapping.w_avg.clone()
        expected = w_defect.lerp(dfmgan.defect_mapping(latents.z_defect).mean(dim=0), 0.005)
        objectives.transfer_generator(dfmgan, *discriminators, latents, TINY.transfer)
        assert torch.equal(dfmgan.backbone.mapping.w_avg, w_object)
        torch.testing.assert_close(dfmgan.defect_mapping.w_avg, expected.detach())

    @pytest.mark.parametrize("shared_noise", [True, False])
    def test_mode_seeking_compares_two_defects_on_the_same_objects(self, dfmgan, discriminators, shared_noise):
        latents = latents_of(dfmgan, mixing_prob=0.0, second=not shared_noise)
        config = transfer_config(protocol__shared_noise=shared_noise)
        got = objectives.transfer_generator(dfmgan, *discriminators, latents, config).terms["mode_seeking"]
        half = BATCH // 2
        w_object, w_defect = dfmgan.backbone.rows(latents.z_object), dfmgan.defect_rows(latents.z_defect)
        noise = latents.noise_object, latents.noise_defect
        other = noise if shared_noise else (latents.noise_object_2, latents.noise_defect_2)
        one = dfmgan(w_object[:half], w_defect[:half], *(n[:half] for n in noise)).mask_logits
        two = dfmgan(w_object[:half], w_defect[half:], *(n[:half] for n in other)).mask_logits
        gain, epsilon = config.tanh_gain, config.protocol.mode_seeking_epsilon
        expected = mode_seeking_loss(
            w_defect[:half], w_defect[half:], soft_mask(one, gain), soft_mask(two, gain), epsilon
        )
        torch.testing.assert_close(got, expected.detach(), rtol=1e-4, atol=1e-5)

    def test_equal_defect_codes_have_no_numerator(self, dfmgan, discriminators):
        latents = latents_of(dfmgan, mixing_prob=0.0)
        latents.z_defect[BATCH // 2 :] = latents.z_defect[: BATCH // 2]
        out = objectives.transfer_generator(dfmgan, *discriminators, latents, TINY.transfer)
        assert out.terms["mode_seeking"].item() == 0

    def test_the_loss_is_the_weighted_sum_of_equation_3(self, dfmgan, discriminators):
        latents = latents_of(dfmgan)
        weights = {"lambda_match": 0.7, "lambda_mode_seeking": 0.3}
        out = objectives.transfer_generator(dfmgan, *discriminators, latents, transfer_config(**weights))
        image, logits = objectives.fake(dfmgan, latents)
        pair = torch.cat([image, soft_mask(logits, TINY.transfer.tanh_gain)], dim=1)
        adversarial = generator_loss(discriminators[0](image)) + 0.7 * generator_loss(discriminators[1](pair))
        expected = adversarial + 0.3 * out.terms["mode_seeking"] + saturation_guard(logits, TINY.transfer.tanh_gain)
        torch.testing.assert_close(out.loss.detach(), expected, rtol=1e-4, atol=1e-4)
        without = objectives.transfer_generator(
            dfmgan, *discriminators, latents, transfer_config(**{**weights, "lambda_mode_seeking": 0.0})
        )
        assert "mode_seeking" not in without.terms

    def test_the_official_protocol_has_no_guard(self, dfmgan, discriminators):
        dfmgan.residual.to_mask.bias.data.fill_(-5.0)
        config = transfer_config(lambda_mode_seeking=0.0)
        guarded = objectives.transfer_generator(dfmgan, *discriminators, latents_of(dfmgan), config)
        config = transfer_config(lambda_mode_seeking=0.0, protocol__guard_masks=False)
        free = objectives.transfer_generator(dfmgan, *discriminators, latents_of(dfmgan), config)
        assert guarded.terms["mask_guard"] > 1
        torch.testing.assert_close(guarded.loss - guarded.terms["mask_guard"], free.loss)


class TestSaturationGuard:
    def test_masks_that_can_still_move_cost_nothing(self):
        mixed = torch.tensor([-9.0, -9.0, -9.0, 9.0]).reshape(1, 1, 2, 2)
        faint = torch.tensor([-9.0, -9.0, -9.0, -0.1]).reshape(1, 1, 2, 2)  # black, but within reach of the threshold
        for logits in (mixed, -mixed, faint, -faint):
            logits.requires_grad_(True)
            guard = saturation_guard(logits, 10.0)
            assert guard.item() == 0
            assert not torch.autograd.grad(guard, logits)[0].any()
            logits.requires_grad_(False)

    @pytest.mark.parametrize("sign", [-1, 1])
    def test_an_all_black_or_all_white_mask_is_pulled_back_by_its_nearest_pixel(self, sign):
        logits = (sign * torch.tensor([3.0, 4.0, 5.0, 6.0]).reshape(1, 1, 2, 2)).requires_grad_(True)
        guard = saturation_guard(logits, 10.0)
        assert guard.item() == pytest.approx(3.0 - 0.2)
        guard.backward()
        assert logits.grad.flatten().tolist() == [sign, 0, 0, 0]

    def test_it_is_a_mean_over_samples(self):
        logits = torch.stack([torch.full((1, 2, 2), v) for v in (-1.2, 0.0, 2.2, 0.1)])
        assert saturation_guard(logits, 10.0).item() == pytest.approx((1.0 + 0 + 2.0 + 0) / 4)


class TestOtherPhases:
    def test_pretraining_moves_the_average_object_code_and_all_parameters(self, dfmgan, discriminators):
        backbone, latents = dfmgan.backbone, latents_of(dfmgan)
        expected = backbone.mapping.w_avg.lerp(backbone.mapping(latents.z_object).mean(dim=0), 0.005)
        out = objectives.pretrain_generator(backbone, discriminators[0], latents)
        out.loss.backward()
        torch.testing.assert_close(backbone.mapping.w_avg, expected.detach())
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in backbone.parameters())

    def test_style_mixing_takes_the_rows_from_the_cut_on_from_the_second_code(self, dfmgan):
        latents = latents_of(dfmgan)
        rows, cut = objectives.object_rows(dfmgan.backbone, latents, track=False), latents.cut_object
        assert torch.equal(rows[:, :cut], dfmgan.backbone.rows(latents.z_object)[:, :cut])
        assert torch.equal(rows[:, cut:], dfmgan.backbone.rows(latents.z_object_mix)[:, cut:])

    def test_discriminators_learn_and_the_generator_does_not(self, dfmgan, discriminators, rng):
        real = torch.randn(BATCH, 3, 32, 32, generator=rng)
        mask = torch.randn(BATCH, 1, 32, 32, generator=rng).sign()
        for network in discriminators:
            network.requires_grad_(True)
        out = objectives.discriminator(dfmgan, discriminators[0], latents_of(dfmgan), real)
        match = objectives.match_discriminator(dfmgan, discriminators[1], latents_of(dfmgan), real, mask, 10.0)
        (out.loss + match.loss).backward()
        assert all(p.grad is not None for network in discriminators for p in network.parameters())
        assert all(p.grad is None for p in dfmgan.parameters())
        assert out.terms["real_sign"] == discriminators[0](real).sign().mean()

    def test_r1_is_half_gamma_times_the_penalty_and_adds_up_over_images(self, discriminators, rng):
        real = torch.randn(BATCH, 3, 32, 32, generator=rng)
        discriminators[0].requires_grad_(True)
        out = objectives.r1(discriminators[0], real, gamma=3.0)
        torch.testing.assert_close(out.loss.detach(), 1.5 * out.terms["r1_penalty"])
        assert not real.requires_grad
        out.loss.backward()
        assert discriminators[0].from_rgb.weight.grad.abs().max() > 0

    def test_r1_is_taken_before_augmentation(self, discriminators, rng):
        real = torch.randn(BATCH, 3, 32, 32, generator=rng)
        plain = objectives.r1(discriminators[0], real, 1.0).terms["r1_penalty"]
        scaled = objectives.r1(discriminators[0], real / 3, 1.0, lambda image: image * 3).terms["r1_penalty"]
        torch.testing.assert_close(scaled, 9 * plain, rtol=1e-3, atol=0)

    @pytest.mark.parametrize("stage", [1, 2])
    def test_path_length_compares_with_the_mean_after_it_moved(self, dfmgan, rng, stage):
        generator = dfmgan if stage == 2 else dfmgan.backbone
        latents = latents_of(dfmgan, mixing_prob=0.0)
        noise = torch.randn(BATCH, 3, 32, 32, generator=rng)
        out = objectives.path_length(generator, latents, noise, torch.tensor(0.5), 0.25, 2.0, 2)
        first = latents.part(0, 2)
        w = dfmgan.backbone.rows(first.z_object)
        if stage == 2:
            image = dfmgan(w, dfmgan.defect_rows(first.z_defect), first.noise_object, first.noise_defect).image
        else:
            image = dfmgan.backbone(w, first.noise_object)
        lengths = path_lengths(image, w, noise[:2]).detach()
        mean = 0.5 + 0.25 * (lengths.mean() - 0.5)
        torch.testing.assert_close(out.state["path_length_mean"], mean)
        torch.testing.assert_close(out.loss.detach(), 2 * (lengths - mean).square().mean(), rtol=1e-4, atol=1e-6)

    def test_path_length_in_stage_2_moves_the_residual_branch_but_not_the_object_mapping(self, dfmgan, rng):
        noise = torch.randn(BATCH, 3, 32, 32, generator=rng)
        objectives.path_length(dfmgan, latents_of(dfmgan), noise, torch.tensor(0.0), 0.01, 2.0, 2).loss.backward()
        assert all(p.grad is None for p in dfmgan.backbone.mapping.parameters())
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in dfmgan.residual.parameters())
