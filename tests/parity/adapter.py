"""Our networks and losses behind the interface of the parity check (see the template beside the fixtures)."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import OFFICIAL, ModelConfig, TransferConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.latents import Latents
from defect_synth.dfmgan.official import (
    NetworkState,
    OfficialSnapshot,
    import_snapshot,
    to_official_discriminator,
    to_official_generator,
)
from defect_synth.dfmgan.official.importer import convert_snapshot


class Adapter:
    def __init__(self, networks, stage, meta):
        kwargs = meta["constructor_kwargs"]
        inits = {"G": kwargs["G1" if stage == "stage1" else "G2"], "D": kwargs["D"]}
        inits["G_ema"] = inits["G"]
        if "D_match" in networks:
            inits["D_match"] = kwargs["D_match"]
        states = {name: NetworkState(inits[name], state) for name, state in networks.items()}
        self._build(convert_snapshot(OfficialSnapshot(Path(stage), states)))

    @classmethod
    def from_pickle(cls, path, stage, meta):
        self = cls.__new__(cls)
        self._build(import_snapshot(path))
        return self

    def _build(self, snapshot):
        config = snapshot.config
        if self.mask_dtype is not None:
            residual = config.residual.model_copy(update={"mask_dtype": self.mask_dtype})
            config = config.model_copy(update={"residual": residual})
        self.config: ModelConfig = config
        build = DFMGAN if snapshot.stage == 2 else lambda c: Backbone(c.backbone)
        self.training_generator, self.generator = build(config), build(config)
        self.training_generator.load_state_dict(snapshot.generator)
        self.generator.load_state_dict(snapshot.generator_ema)
        self.discriminator = build_discriminator(config)
        self.discriminator.load_state_dict(snapshot.discriminator)
        self.match_discriminator = None
        if snapshot.match_discriminator is not None:
            self.match_discriminator = build_match_discriminator(config)
            self.match_discriminator.load_state_dict(snapshot.match_discriminator)

    # The check compares with the authors' float16 masks or, under `--mask fp32`, with float32 masks. It does not tell
    # the adapter which of them, so the adapter reads the command line. None: as the snapshot says.
    mask_dtype: str | None = "float32" if "fp32" in sys.argv else None

    @property
    def backbone(self) -> Backbone:
        return self.generator.backbone if isinstance(self.generator, DFMGAN) else self.generator

    def mapping(self, z, psi=1.0, cutoff=None):
        return self.backbone.rows(z, truncation=psi, cutoff=cutoff)

    def defect_mapping(self, z, psi=1.0):
        return self.generator.defect_rows(z, truncation=psi)

    def synthesis(self, ws, defect_ws=None, noise_mode="const", defect_free=False):
        n = len(ws)
        off = noise_mode == "none"
        noise = torch.zeros(n, self.backbone.noise_numel) if off else None
        if not isinstance(self.generator, DFMGAN):
            return self.generator(ws, noise), None
        defect_noise = torch.zeros(n, self.generator.defect_noise_numel) if off else None
        out = self.generator(ws, None if defect_free else defect_ws, noise, defect_noise)
        return out.image, None if defect_free else out.mask_logits

    def D(self, img):
        return self.discriminator(img)

    def D_match(self, img, mask):
        return self.match_discriminator(torch.cat([img, mask], dim=1))

    def loss(self, phase, inputs, mix) -> tuple[dict[str, float], dict[str, Tensor | None]]:
        """One phase on the fixture's batch: constant noise, path-length mean 0.3, gain 1."""
        generator = self.training_generator
        stage2 = isinstance(generator, DFMGAN)
        backbone = generator.backbone if stage2 else generator
        latents = Latents(
            z_object=inputs["z"],
            z_defect=inputs["z_defect"] if stage2 else None,
            z_object_mix=inputs["z_mix"],
            z_defect_mix=inputs["z_defect_mix"] if stage2 else None,
            cut_object=1 + (backbone.config.num_ws - 1) // 2 if mix else None,
            cut_defect=1 + (self.config.num_defect_ws - 1) // 2 if mix else None,
        )
        gamma = float(inputs["r1_gamma"])
        transfer = TransferConfig()
        # Noise is constant in the fixture, so sharing it between the two passes changes nothing but the work.
        official = OFFICIAL.model_copy(update={"shared_noise": True})
        transfer = transfer.model_copy(update={"protocol": official})
        real, real_mask = inputs["real_img"], inputs["real_mask"]
        D, M = self.discriminator, self.match_discriminator
        modules = {"Gmain": generator, "Greg": generator, "Dmain": D, "Dreg": D, "D_matchmain": M, "D_matchreg": M}
        module = modules[phase]
        for m in (generator, D, M):
            if m is not None:
                m.requires_grad_(m is module)
        if phase == "Gmain" and stage2:
            out = objectives.transfer_generator(generator, D, M, latents, transfer)
            terms = {"Loss/G/loss": out.terms["generator"], "Loss/mode_seek": out.terms["mode_seeking"]}
        elif phase == "Gmain":
            out = objectives.pretrain_generator(generator, D, latents)
            terms = {"Loss/G/loss": out.terms["generator"]}
        elif phase == "Greg":
            out = objectives.path_length(generator, latents, inputs["pl_noise"], torch.tensor(0.3), 0.01, 2.0, 2)
            terms = {"Loss/pl_penalty": out.terms["path_length_penalty"], "Loss/G/reg": out.loss}
        elif phase == "Dmain":
            out = objectives.discriminator(generator, D, latents, real)
            terms = {"Loss/D/loss": out.loss}
        elif phase == "Dreg":
            out = objectives.r1(D, real, gamma)
            terms = {"Loss/r1_penalty": out.terms["r1_penalty"], "Loss/D/reg": out.loss}
        elif phase == "D_matchmain":
            out = objectives.match_discriminator(generator, M, latents, real, real_mask, transfer.tanh_gain)
            terms = {"Loss/D_match/loss": out.loss}
        else:
            out = objectives.r1(M, torch.cat([real, real_mask], dim=1), gamma)
            terms = {"Loss/r1_penalty_match": out.terms["r1_penalty"], "Loss/D_match/reg": out.loss}
        module.zero_grad(set_to_none=True)
        out.loss.backward()
        state = {name: p.grad for name, p in module.named_parameters()}
        present = {name: grad for name, grad in state.items() if grad is not None}
        if module is generator:
            theirs = to_official_generator(present, self.config)
        else:
            theirs = to_official_discriminator(present)
        return {k: float(v.detach()) for k, v in terms.items()}, theirs
