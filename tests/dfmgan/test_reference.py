"""The fast networks against the same networks written the obvious way."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from defect_synth.config import override
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.latents import draw_latents
from defect_synth.dfmgan.region_painting import paint_pair
from defect_synth.engine.draws import Draws

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import reference_stylegan2 as reference

BATCH = 8


def close(ours, theirs):
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


@pytest.fixture(scope="module")
def networks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = {
            "backbone": Backbone(TINY.model.backbone),
            "generator": DFMGAN(TINY.model),
            "d": build_discriminator(TINY.model),
            "match": build_match_discriminator(TINY.model),
        }
        with torch.no_grad():
            for network in built.values():  # nothing may hide behind a zero
                for name, parameter in network.named_parameters():
                    if name.endswith(("bias", "noise_strength")):
                        parameter.add_(0.1 * torch.randn(parameter.shape))
            built["generator"].backbone.load_state_dict(built["backbone"].state_dict())
    built["generator"].backbone.requires_grad_(False)
    return built


@pytest.fixture(scope="module")
def references(networks):
    return {name: reference.reference_of(network) for name, network in networks.items()}


def latents(stage2):
    net = DFMGAN(TINY.model)
    return draw_latents(
        Draws(3, 0, 0, torch.device("cpu")), BATCH, TINY.model, mixing_prob=1,
        noise=net.backbone.noise_numel, defect_noise=net.defect_noise_numel if stage2 else 0, second=False,
    )  # fmt: skip


def real():
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(BATCH, 3, 32, 32, generator=generator) * 2 - 1
    return image, torch.randn(BATCH, 1, 32, 32, generator=generator).sign()


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("grad", [False, True])
def test_generator_agrees_with_reference(networks, references, batch, grad):
    codes = latents(stage2=True).part(0, batch)
    images = []
    with torch.set_grad_enabled(grad):
        for net in (networks["generator"], references["generator"]):
            w, wd = net.backbone.rows(codes.z_object), net.defect_rows(codes.z_defect)
            images.append((*net(w, wd, codes.noise_object, codes.noise_defect), net(w, None, codes.noise_object).image))
    for ours, theirs in zip(*images, strict=True):
        assert close(ours, theirs)


def test_painting_in_regions_agrees_with_reference_for_masks_from_nothing_to_everything(networks, references):
    codes = latents(stage2=True)
    ours, theirs = networks["generator"], references["generator"]
    before = ours.residual.to_mask.bias.data.clone()
    try:
        for bias in (-1e3, -4.0, -2.0, -1.0, 0.0, 1e3):
            for net in (ours, theirs):
                net.residual.to_mask.bias.data.fill_(bias)
            for k in range(BATCH):
                one = codes.part(k, k + 1)
                noise = one.noise_object, one.noise_defect
                with torch.no_grad():
                    w_object, w_defect = ours.backbone.rows(one.z_object), ours.defect_rows(one.z_defect)
                    out, clean = paint_pair(ours, ours.trunk(w_object, noise[0]), w_object, w_defect, *noise)
                    w_object, w_defect = theirs.backbone.rows(one.z_object), theirs.defect_rows(one.z_defect)
                    expected = theirs(w_object, w_defect, *noise)
                    assert close(clean, theirs(w_object, None, *noise).image)
                assert close(out.image, expected.image)
                assert close(out.mask_logits, expected.mask_logits)
    finally:
        for net in (ours, theirs):
            net.residual.to_mask.bias.data.copy_(before)


@pytest.mark.parametrize("name", ["d", "match"])
def test_discriminators_agree_with_reference(networks, references, name):
    image, mask = real()
    x = image if name == "d" else torch.cat([image, mask], dim=1)
    assert close(networks[name](x), references[name](x))


@pytest.fixture
def exact(monkeypatch):
    """Everything in float64, where rounding cannot be taken for a wrong derivative."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def loss_of(phase, nets, is_reference):
    image, mask = (part.double() for part in real())
    pair = torch.cat([image, mask], dim=1)
    mean = torch.tensor(0.3)
    noise = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    if phase == "G stage 1":
        return objectives.pretrain_generator(nets["backbone"], nets["d"], latents(False)).loss
    if phase == "G path length stage 1":
        return objectives.path_length(nets["backbone"], latents(False), noise, mean, 0.01, 2.0, 2).loss
    if phase == "G path length stage 2":
        return objectives.path_length(nets["generator"], latents(True), noise, mean, 0.01, 2.0, 2).loss
    if phase == "G stage 2":
        settings = override(TINY.transfer, {"protocol.mask_leak": 0.0})  # the reference has tanh's own gradient
        arguments = nets["generator"], nets["d"], nets["match"], latents(True), settings
        if is_reference:
            return reference.transfer_generator(*arguments)
        return objectives.transfer_generator(*arguments).loss
    if phase == "D":
        return objectives.discriminator(nets["generator"], nets["d"], latents(True), image).loss
    if phase == "D_match":
        return objectives.match_discriminator(nets["generator"], nets["match"], latents(True), image, mask, 10.0).loss
    if phase == "R1 of D":
        return objectives.r1(nets["d"], image, 1.0).loss
    return objectives.r1(nets["match"], pair, 1.0).loss


@pytest.mark.parametrize(
    ("phase", "trained"),
    [
        ("G stage 1", "backbone"),
        ("G path length stage 1", "backbone"),
        ("G path length stage 2", "generator"),
        ("G stage 2", "generator"),
        ("D", "d"),
        ("D_match", "match"),
        ("R1 of D", "d"),
        ("R1 of D_match", "match"),
    ],
)
def test_loss_and_gradients_of_phase_agree_with_reference(exact, networks, references, phase, trained):
    networks, references = ({k: copy.deepcopy(v).double() for k, v in n.items()} for n in (networks, references))
    for network in (networks["generator"], references["generator"]):
        network.mask_dtype = torch.float64
    for network in (*networks.values(), *references.values()):
        for module in network.modules():
            if hasattr(module, "compute_dtype"):
                module.compute_dtype = torch.float64
    losses, gradients = [], []
    for nets in (networks, references):
        loss = loss_of(phase, nets, nets is references)
        parameters = [p for p in nets[trained].parameters() if p.requires_grad]
        gradients.append(torch.autograd.grad(loss, parameters, allow_unused=True))
        losses.append(loss)
    assert float((losses[0] - losses[1]).detach().abs()) <= 1e-9 * float(losses[1].detach().abs())
    largest = max(float(g.abs().max()) for g in gradients[1] if g is not None)
    for ours, theirs in zip(*gradients, strict=True):
        if theirs is None or ours is None:  # an unused parameter may be None on one side and zero on the other
            assert all(g is None or not g.any() for g in (ours, theirs))
            continue
        assert float((ours - theirs).abs().max()) <= 1e-8 * largest
