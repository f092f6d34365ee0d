"""The painter's two stages, ready for `loop.run`: the image backbone (1'), then the defect branch (2')."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from defect_synth.dfmgan.ada import AdaController
from defect_synth.dfmgan.config import AdversarialStageConfig as StageConfig
from defect_synth.dfmgan.config import ModelConfig
from defect_synth.engine.checkpoint import CheckpointInfo, library_versions
from defect_synth.engine.contact_sheet import grid, save_sheet
from defect_synth.engine.draws import Draws
from defect_synth.engine.loop import Phase, Stage
from defect_synth.engine.stage import Outcome
from defect_synth.errors import CheckpointError
from defect_synth.painter.config import PainterConfig
from defect_synth.painter.judges import (
    BackboneFeatures,
    FrozenFeatures,
    Judges,
    judge_loss,
    painter_loss,
)
from defect_synth.painter.network import Codes, ImageBackbone, Painted, PainterModel, appearance
from defect_synth.painter.texture import NUM_FEATURES, texture_distance
from defect_synth.painter.training_data import PaintBatch, PainterData
from defect_synth.samples import signal_to_pixels

_PLACES = 512  # pixels of each mask whose texture is compared ...
_DIRECTIONS = 24  # ... in so many directions
_SHOWN = 12  # paintings on a sheet, by column

Network = TypeVar("Network", bound=torch.nn.Module)

Export = Callable[[Path, PainterModel, float], None]
"""(path, averaged network, kimg): writes a checkpoint."""


def backbone_stage(
    config: PainterConfig, data: PainterData, category: str, digest: str, features: FrozenFeatures | None
) -> Stage:
    """Stage 1': reconstruct views of normal images.

    Args:
        config: Of the whole run.
        data: Where the views come from.
        category: Object category.
        digest: Names the images, so that a run is not continued with others.
        features: Pretrained features to compare by, besides pixels; None: pixels only.
    """
    stage_config = config.backbone
    torch.manual_seed(config.seed)  # initial weights only; nothing after this draws from the global state
    network = _channels_last(ImageBackbone(config.model))
    average = copy.deepcopy(network).requires_grad_(False).eval()
    optimizer = torch.optim.Adam(
        network.parameters(), lr=stage_config.learning_rate, betas=(0.9, 0.99), eps=1e-8, fused=True
    )

    def prepare(draws: Draws, iteration: int) -> Tensor:
        _decay(optimizer, stage_config, stage_config.learning_rate, iteration, start=0.0)
        return data.normal(iteration, stage_config.batch)

    def compute(view: Tensor, start: int, stop: int) -> Outcome:
        view = view[start:stop]
        drawn = network(view)
        loss = distance = (drawn - view).abs().mean()
        if features is not None:
            with torch.no_grad():
                wanted = features(view)[:2]
            near = torch.stack([
                (a - b).abs().mean() / b.abs().mean().clamp_min(1e-3)
                for a, b in zip(features(drawn)[:2], wanted, strict=True)
            ]).mean()  # fmt: skip
            loss = loss + stage_config.perceptual * near
        return Outcome(loss, {"distance": distance.detach()})

    shown = data.normal(2**31 - 1, 16)

    @torch.no_grad()
    def evaluate() -> tuple[dict[str, float], float | None]:
        error = (average(shown).clamp(-1, 1) - shown).square().mean()
        return {"psnr": float(10 * torch.log10(4 / error))}, None

    @torch.no_grad()
    def sample_sheet(path: Path) -> None:
        save_sheet(path, grid(_pixels(torch.cat([shown[:8], average(shown[:8])])), columns=8))

    info = _info(config, category, digest, stage_config, "1'", "pixels" if features is None else features.name)

    def export(path: Path, kimg: float, score: float | None) -> None:
        from defect_synth.engine.checkpoint import save_checkpoint

        save_checkpoint(path, info.model_copy(update={"trained_kimg": kimg}), average.state_dict())

    return Stage(
        name="image backbone",
        config=stage_config,
        phases=[Phase("backbone", network, 1, prepare, compute)],
        optimizers={"backbone": optimizer},
        modules={"backbone": network, "average": average},
        averaged=list(zip(average.parameters(), network.parameters(), strict=True)),
        copied=[],
        ada=_no_ada(stage_config),
        scalars={},
        evaluate=evaluate,
        sample_sheet=sample_sheet,
        export=export,
        info=info,
        device=torch.device("cpu"),
        seed=config.seed,
    )


def painter_stage(
    config: PainterConfig,
    data: PainterData,
    category: str,
    digest: str,
    backbone: dict[str, Tensor],
    features: FrozenFeatures | None,
    export: Export,
) -> Stage:
    """Stage 2': the defect branch and its judges, the backbone frozen.

    Args:
        config: Of the whole run.
        data: Where real views and things to paint come from.
        category: Object category.
        digest: Names the images.
        backbone: State of the image backbone of stage 1'.
        features: Pretrained features for the judges; None: those of the backbone.
        export: Writes the averaged painter.

    Raises:
        CheckpointError: The backbone is of another architecture.
    """
    stage_config = config.painter
    torch.manual_seed(config.seed + 1)  # initial weights only
    network = PainterModel(config.model, len(data.defects))
    try:
        network.backbone.load_state_dict(backbone)
    except RuntimeError as error:
        raise CheckpointError(
            f"the image backbone is of another architecture ({str(error).splitlines()[-1].strip()[:80]}); "
            "use the same settings or another --output"
        ) from None
    network = _channels_last(network)
    network.backbone.requires_grad_(False)
    average = copy.deepcopy(network).requires_grad_(False).eval()
    seen_by: FrozenFeatures = features or BackboneFeatures(network.backbone)
    judges = _channels_last(Judges(seen_by.channels, len(data.defects)))
    with torch.no_grad():
        judges.standardise(seen_by(data.real(2**31 - 2, 16).view))
    size = stage_config.batch
    pairs = max(1, size // 4)
    painters = torch.optim.Adam(
        network.branch.parameters(), lr=stage_config.learning_rate, betas=(0.0, 0.99), eps=1e-8, fused=True
    )
    judging = torch.optim.Adam(
        judges.parameters(), lr=stage_config.judge_learning_rate, betas=(0.0, 0.99), eps=1e-8, fused=True
    )
    # The painter's phase leaves its paintings for the judges' phase of the same iteration: half the work.
    made: list[tuple[Tensor, list[Tensor], PaintBatch]] = []

    def prepare_painter(draws: Draws, iteration: int) -> tuple[PaintBatch, Tensor, Tensor, Tensor]:
        _decay(painters, stage_config, stage_config.learning_rate, iteration)
        batch = data.paint(iteration, size, pairs=pairs, donor_prob=stage_config.donor_prob)
        places, directions = draws.uniform(2, size, _PLACES), draws.normal(3, _DIRECTIONS, NUM_FEATURES)
        return batch, draws.uniform(1, size, 3), places, directions

    def compute_painter(context: tuple[PaintBatch, Tensor, Tensor, Tensor], start: int, stop: int) -> Outcome:
        batch, light, places, directions = context
        painted = _painted(network, batch)
        shown = _relit(painted.image, light)
        maps = seen_by(shown)
        adversarial = painter_loss(judges(maps, shown, batch.mask, batch.label), batch.mask)
        looks = (appearance(painted.image, batch.mask) - batch.codes.appearance).abs().mean()
        pasted = torch.where(batch.mask > 0, batch.donor, batch.view)
        texture = texture_distance(painted.image, pasted, batch.mask, places, directions).mean()
        area = batch.mask.sum(dim=(1, 2, 3)).clamp_min(1.0)
        far = ((painted.image - batch.donor).abs() * batch.mask).sum(dim=(1, 2, 3)) / area / 3
        kept = (far * batch.has_donor).sum() / batch.has_donor.sum().clamp_min(1)
        half = size // 2
        a, b = slice(0, pairs), slice(half, half + pairs)
        moved = ((painted.image[a] - painted.image[b]).abs() * batch.mask[a]).sum(dim=(1, 2, 3)) / area[a] / 3
        codes = (batch.codes.z[a] - batch.codes.z[b]).abs().mean(dim=1)
        seeking = (codes / (moved + 0.1)).mean()
        made[:] = [(shown.detach(), [m.detach() for m in maps], batch)]
        loss = (
            adversarial
            + stage_config.appearance_weight * looks
            + stage_config.texture_weight * texture
            + stage_config.donor_weight * kept
            + stage_config.mode_seeking_weight * seeking
        )
        opacity = (painted.opacity.sum(dim=(1, 2, 3)) / area).mean()
        return Outcome(loss, {
            "painter_loss": adversarial.detach(), "appearance": looks.detach(), "texture": texture.detach(),
            "donor_distance": kept.detach(),
            "variety": moved.detach().mean(), "opacity": opacity.detach(),
        })  # fmt: skip

    def prepare_judges(draws: Draws, iteration: int) -> tuple[PaintBatch, Tensor]:
        _decay(judging, stage_config, stage_config.judge_learning_rate, iteration)
        real = data.real(iteration, size)
        bare = max(1, size // 2)
        return real, draws.uniform(1, size + bare, 3)  # type: ignore[return-value]

    def compute_judges(context, start: int, stop: int) -> Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        real, light = context
        fake, fake_maps, batch = made.pop()
        bare = len(light) - size
        # Real normal views under the masks that were painted: there is no defect in them.
        views = _relit(torch.cat([real.view, batch.view[:bare]]), light)
        with torch.no_grad():
            maps = seen_by(views)
        real_part, bare_part = slice(0, size), slice(size, None)
        truth = judges([m[real_part] for m in maps], views[real_part], real.mask, real.label)
        painted = judges(fake_maps, fake, batch.mask, batch.label)
        nothing = judges([m[bare_part] for m in maps], views[bare_part], batch.mask[:bare], batch.label[:bare])
        loss = judge_loss(truth, painted, nothing, real.mask, batch.mask, batch.mask[:bare])
        return Outcome(loss, {"judge_loss": loss.detach()})

    sheet = data.paint(2**31 - 1, _SHOWN, pairs=0, donor_prob=0.5)

    @torch.no_grad()
    def sample_sheet(path: Path) -> None:
        free = _painted(average, sheet, donor=False).image
        from_donor = _painted(average, sheet, donor=True).image
        pasted = torch.where(sheet.mask > 0, sheet.donor, sheet.view)
        masks = (sheet.mask * 2 - 1).expand_as(free)
        reals = data.real(2**31 - 3, _SHOWN).view
        save_sheet(path, grid(_pixels(torch.cat([reals, sheet.view, masks, pasted, from_donor, free])), columns=_SHOWN))

    info = _info(config, category, digest, stage_config, "2'", seen_by.name)

    def write(path: Path, kimg: float, score: float | None) -> None:
        export(path, average, kimg)

    sources = dict(network.named_parameters())
    return Stage(
        name="painter",
        config=stage_config,
        phases=[
            Phase("painter", network.branch, 1, prepare_painter, compute_painter),
            Phase("judges", judges, 1, prepare_judges, compute_judges),
        ],
        optimizers={"branch": painters, "judges": judging},
        modules={"branch": network.branch, "judges": judges, "average": average.branch},
        averaged=[(a, sources[n]) for n, a in average.named_parameters() if n.startswith("branch.")],
        copied=[],
        ada=_no_ada(stage_config),
        scalars={},
        evaluate=lambda: ({}, None),
        sample_sheet=sample_sheet,
        export=write,
        info=info,
        device=torch.device("cpu"),
        seed=config.seed,
    )


def _painted(network: PainterModel, batch: PaintBatch, donor: bool | None = None) -> Painted:
    has = batch.has_donor if donor is None else torch.full_like(batch.has_donor, donor)
    codes = Codes(*(c.contiguous(memory_format=torch.channels_last) if c.ndim == 4 else c for c in batch.codes))
    out: Painted = network(batch.view, batch.mask, batch.donor, has, codes, batch.label)
    return out


def _relit(view: Tensor, uniform: Tensor) -> Tensor:
    """Brightness +-0.15, contrast and saturation by up to a fifth: what a judge must not go by. uniform [N, 3]."""
    u = (uniform * 2 - 1)[:, :, None, None, None]
    grey = view.mean(dim=1, keepdim=True)
    middle = grey.mean(dim=(2, 3), keepdim=True)
    view = grey + (view - grey) * (1 + 0.25 * u[:, 2])
    view = (view - middle) * (1 + 0.2 * u[:, 1]) + middle + 0.15 * u[:, 0]
    return view.contiguous(memory_format=torch.channels_last)


def _decay(
    optimizer: torch.optim.Optimizer, config: StageConfig, rate: float, iteration: int, start: float = 2 / 3
) -> None:
    """Learning rate of an iteration: `rate`, then down in a line to a tenth from `start` of the stage on."""
    done = iteration * config.batch / (config.total_kimg * 1000)
    share = min(max((done - start) / (1 - start), 0.0), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate * (1 - 0.9 * share)


def _channels_last(module: Network) -> Network:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _pixels(views: Tensor) -> Tensor:
    return signal_to_pixels(views.float()).cpu()


def _no_ada(config: StageConfig) -> AdaController:
    return AdaController(config.augment, batch=config.batch, max_p=config.augment.max_p)


def _info(
    config: PainterConfig, category: str, digest: str, stage: StageConfig, name: str, judges: str
) -> CheckpointInfo:
    training = {
        "method": "painter", "stage": name, "seed": config.seed, "judges": judges,
        "painter": config.model.model_dump(mode="json"), **stage.model_dump(mode="json", exclude={"total_kimg"}),
    }  # fmt: skip
    # `model` describes a DFMGAN and is not read here; a painter's sizes are in `training`.
    return CheckpointInfo(
        kind="training", model=ModelConfig(), category=category, data_digest=digest, training=training,
        versions=library_versions(),
    )  # fmt: skip
