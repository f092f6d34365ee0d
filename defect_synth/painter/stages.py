"""The painter's two stages, ready for `loop.run`: the image backbone (1'), then the defect branch (2')."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from defect_synth.config import StageConfig
from defect_synth.engine.checkpoint import TrainingCard, library_versions, restore, save_checkpoint
from defect_synth.engine.contact_sheet import save_grid
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Outcome, Phase, Stage
from defect_synth.painter.appearance import appearance
from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.discriminators import (
    BackboneFeatures,
    FrozenFeatures,
    LocalDiscriminators,
    discriminator_loss,
    painter_loss,
)
from defect_synth.painter.network import ImageBackbone, PaintedView, PainterModel
from defect_synth.painter.texture import NUM_FEATURES, texture_distance
from defect_synth.painter.training_batches import PaintingBatch, RealBatch
from defect_synth.painter.training_set import PainterTrainingSet
from defect_synth.samples import signal_to_pixels

CPU = torch.device("cpu")
_COMPARED_PIXELS = 512  # of each mask, for the texture distance ...
_DIRECTIONS = 24  # ... projected on so many directions
_NUM_SHOWN = 12  # paintings on a contact sheet, by column
_NUM_VALIDATED = 16  # views that the backbone is measured with
_NUM_STANDARDISING = 16  # views by which features are scaled
# Iterations that no training reaches: batches for measuring and for contact sheets.
_SHEET, _SCALING, _SHEET_REAL = 2**31 - 1, 2**31 - 2, 2**31 - 3

Network = TypeVar("Network", bound=torch.nn.Module)


class BackboneStage(Stage):
    """Stage 1': the image backbone learns to reconstruct views of normal images.

    Args:
        training_set: Where the views come from, and the settings; the schedule is `config.backbone`.
        features: Pretrained features to compare by, besides pixels; None: pixels only.
    """

    def __init__(self, training_set: PainterTrainingSet, features: FrozenFeatures | None) -> None:
        config = training_set.config
        self.schedule = config.backbone
        torch.manual_seed(config.seed)  # initial weights only; nothing after this draws from the global state
        self.network = _channels_last(ImageBackbone(config.model))
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.batches, self.features = training_set.batches, features
        name = "pixels" if features is None else features.name
        card = _snapshot_card(training_set, self.schedule, "1'", name)
        super().__init__("image backbone", self.schedule, card, CPU, config.seed)
        self.phases = [Phase("backbone", self.network, 1, self.inputs, self.reconstruction)]
        self.optimizers = {"backbone": _adam(self.network, self.schedule.learning_rate, beta1=0.9)}
        self.modules = {"backbone": self.network, "average": self.average}
        self.averaged = list(zip(self.average.parameters(), self.network.parameters(), strict=True))
        self._validated = self.batches.normal(_SHEET, _NUM_VALIDATED)

    def inputs(self, draws: Draws, iteration: int) -> Tensor:
        """Views of a batch, [N, 3, S, S]."""
        _decay(self.optimizers["backbone"], self.schedule, self.schedule.learning_rate, iteration, start=0.0)
        return self.batches.normal(iteration, self.schedule.batch)

    def reconstruction(self, views: Tensor, start: int, stop: int) -> Outcome:
        """Distance between views and their reconstructions, in pixels and in pretrained features."""
        views = views[start:stop]
        drawn = self.network(views)
        loss = distance = (drawn - views).abs().mean()
        if self.features is not None:
            with torch.no_grad():
                wanted = self.features(views)[:2]
            near = torch.stack([
                (a - b).abs().mean() / b.abs().mean().clamp_min(1e-3)
                for a, b in zip(self.features(drawn)[:2], wanted, strict=True)
            ]).mean()  # fmt: skip
            loss = loss + self.schedule.perceptual * near
        return Outcome(loss, {"distance": distance.detach()})

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], float | None]:
        """Peak signal-to-noise ratio of the averaged backbone in decibels; no score: the last snapshot is kept."""
        views = self._validated
        error = (self.average(views).clamp(-1, 1) - views).square().mean()
        return {"psnr": float(10 * torch.log10(4 / error))}, None

    @torch.no_grad()
    def save_contact_sheet(self, path: Path) -> None:
        """Write views above their reconstructions."""
        views = self._validated[:8]
        save_grid(path, _pixels(torch.cat([views, self.average(views)])), columns=8)

    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged backbone."""
        save_checkpoint(path, self.card.model_copy(update={"trained_kimg": kimg}), self.average.state_dict())


class _PainterInputs(NamedTuple):
    """Everything random in a step of the painter: what to paint, a change of light, and where textures are compared."""

    batch: PaintingBatch
    light: Tensor
    places: Tensor
    directions: Tensor


class _Painting(NamedTuple):
    """Paintings as the discriminators see them, their frozen features, and what they were painted on."""

    view: Tensor
    features: list[Tensor]
    batch: PaintingBatch


class PainterStage(Stage):
    """Stage 2': the defect branch against its discriminators, the backbone frozen.

    Args:
        training_set: Where the batches come from, and the settings; the schedule is `config.painter`.
        backbone: State_dict of the image backbone of stage 1'.
        backbone_path: Where it was read from, for messages.
        features: Pretrained features for the discriminators; None: those of the backbone.

    Raises:
        CheckpointError: The backbone is of another architecture.
    """

    def __init__(
        self,
        training_set: PainterTrainingSet,
        backbone: Mapping[str, Tensor],
        backbone_path: Path,
        features: FrozenFeatures | None,
    ) -> None:
        config, batches = training_set.config, training_set.batches
        self.schedule, self.training_set = config.painter, training_set
        torch.manual_seed(config.seed + 1)  # initial weights only
        network = PainterModel(config.model, len(batches.defects))
        restore(network.backbone, backbone, backbone_path)
        self.network = _channels_last(network)
        self.network.backbone.requires_grad_(False)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.features: FrozenFeatures = features or BackboneFeatures(self.network.backbone)
        self.discriminators = _channels_last(LocalDiscriminators(self.features.channels, len(batches.defects)))
        with torch.no_grad():
            self.discriminators.standardise(self.features(batches.real(_SCALING, _NUM_STANDARDISING).view))
        card = _snapshot_card(training_set, self.schedule, "2'", self.features.name)
        super().__init__("painter", self.schedule, card, CPU, config.seed)
        self.phases = [
            Phase("painter", self.network.branch, 1, self.painter_inputs, self.painter_step),
            Phase("discriminators", self.discriminators, 1, self.discriminator_inputs, self.discriminator_step),
        ]
        self.optimizers = {
            "branch": _adam(self.network.branch, self.schedule.learning_rate, beta1=0.0),
            "discriminators": _adam(self.discriminators, self.schedule.discriminator_learning_rate, beta1=0.0),
        }
        self.modules = {
            "branch": self.network.branch, "discriminators": self.discriminators, "average": self.average.branch
        }  # fmt: skip
        sources = dict(self.network.named_parameters())
        self.averaged = [(a, sources[n]) for n, a in self.average.named_parameters() if n.startswith("branch.")]
        self.num_pairs = max(1, self.schedule.batch // 4)  # paintings that are made twice, for mode seeking
        # The discriminators see the paintings of the painter's step of the same iteration: half the work.
        self._painting: _Painting | None = None
        self._shown = batches.paintings(_SHEET, _NUM_SHOWN, pairs=0, donor_prob=0.5)

    def painter_inputs(self, draws: Draws, iteration: int) -> _PainterInputs:
        """What to paint in an iteration."""
        schedule, size = self.schedule, self.schedule.batch
        _decay(self.optimizers["branch"], schedule, schedule.learning_rate, iteration)
        batch = self.training_set.batches.paintings(
            iteration, size, pairs=self.num_pairs, donor_prob=schedule.donor_prob
        )
        places, directions = draws.uniform(2, size, _COMPARED_PIXELS), draws.normal(3, _DIRECTIONS, NUM_FEATURES)
        return _PainterInputs(batch, draws.uniform(1, size, 3), places, directions)

    def painter_step(self, inputs: _PainterInputs, start: int, stop: int) -> Outcome:
        """The losses of the defect branch."""
        batch, light, places, directions = inputs
        schedule = self.schedule
        painted = _painted(self.network, batch)
        shown = _relit(painted.image, light)
        maps = self.features(shown)
        adversarial = painter_loss(self.discriminators(maps, shown, batch.mask, batch.label), batch.mask)
        look = (appearance(painted.image, batch.mask) - batch.codes.appearance).abs().mean()
        pasted = torch.where(batch.mask > 0, batch.donor, batch.view)
        texture = texture_distance(painted.image, pasted, batch.mask, places, directions).mean()
        area = batch.mask.sum(dim=(1, 2, 3)).clamp_min(1.0)
        donor = _mean_distance(painted.image, batch.donor, batch.mask, area)
        donor = (donor * batch.has_donor).sum() / batch.has_donor.sum().clamp_min(1)
        seeking, variety = self._mode_seeking(painted.image, batch, area)
        self._painting = _Painting(shown.detach(), [m.detach() for m in maps], batch)
        loss = (
            adversarial
            + schedule.appearance_weight * look
            + schedule.texture_weight * texture
            + schedule.donor_weight * donor
            + schedule.mode_seeking_weight * seeking
        )
        opacity = (painted.opacity.sum(dim=(1, 2, 3)) / area).mean()
        return Outcome(loss, {
            "painter_loss": adversarial.detach(), "appearance": look.detach(), "texture": texture.detach(),
            "donor_distance": donor.detach(), "variety": variety.detach(), "opacity": opacity.detach(),
        })  # fmt: skip

    def _mode_seeking(self, image: Tensor, batch: PaintingBatch, area: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 2 on pairs of paintings that differ in their codes only, and how far such pairs lie apart."""
        half = len(image) // 2
        a, b = slice(0, self.num_pairs), slice(half, half + self.num_pairs)
        moved = _mean_distance(image[a], image[b], batch.mask[a], area[a])
        codes = (batch.codes.z[a] - batch.codes.z[b]).abs().mean(dim=1)
        return (codes / (moved + 0.1)).mean(), moved.mean()

    def discriminator_inputs(self, draws: Draws, iteration: int) -> tuple[RealBatch, Tensor]:
        """Real defects of an iteration, and a change of light for them and for half as many normal views."""
        schedule, size = self.schedule, self.schedule.batch
        _decay(self.optimizers["discriminators"], schedule, schedule.discriminator_learning_rate, iteration)
        real = self.training_set.batches.real(iteration, size)
        return real, draws.uniform(1, size + max(1, size // 2), 3)

    def discriminator_step(self, inputs: tuple[RealBatch, Tensor], start: int, stop: int) -> Outcome:
        """The hinge loss of the discriminators on real, painted and absent defects."""
        real, light = inputs
        assert self._painting is not None
        (fake, fake_maps, batch), self._painting = self._painting, None
        size = len(real.view)
        num_bare = len(light) - size
        # Real normal views under the masks that were painted: there is no defect in them.
        views = _relit(torch.cat([real.view, batch.view[:num_bare]]), light)
        with torch.no_grad():
            maps = self.features(views)
        mask, label = batch.mask[:num_bare], batch.label[:num_bare]
        truth = self.discriminators([m[:size] for m in maps], views[:size], real.mask, real.label)
        painted = self.discriminators(fake_maps, fake, batch.mask, batch.label)
        bare = self.discriminators([m[size:] for m in maps], views[size:], mask, label)
        loss = discriminator_loss(truth, painted, bare, real.mask, batch.mask, mask)
        return Outcome(loss, {"discriminator_loss": loss.detach()})

    @torch.no_grad()
    def save_contact_sheet(self, path: Path) -> None:
        """Write rows of real defects, normal views, masks, donors as pasted, and paintings with and without them."""
        batch = self._shown
        free = _painted(self.average, batch, donor=False).image
        from_donor = _painted(self.average, batch, donor=True).image
        pasted = torch.where(batch.mask > 0, batch.donor, batch.view)
        masks = (batch.mask * 2 - 1).expand_as(free)
        real = self.training_set.batches.real(_SHEET_REAL, _NUM_SHOWN).view
        rows = torch.cat([real, batch.view, masks, pasted, from_donor, free])
        save_grid(path, _pixels(rows), columns=_NUM_SHOWN)

    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged painter."""
        self.training_set.save_painter(path, self.average, kimg, self.features.name)


def _painted(network: PainterModel, batch: PaintingBatch, donor: bool | None = None) -> PaintedView:
    """Paint a batch; `donor` overrules which samples start from one."""
    has = batch.has_donor if donor is None else torch.full_like(batch.has_donor, donor)
    codes = PaintingCodes(*(c.contiguous(memory_format=torch.channels_last) if c.ndim == 4 else c for c in batch.codes))
    out: PaintedView = network(batch.view, batch.mask, batch.donor, has, codes, batch.label)
    return out


def _mean_distance(a: Tensor, b: Tensor, mask: Tensor, area: Tensor) -> Tensor:
    """Mean absolute difference of two images [N, 3, H, W] inside a mask [N, 1, H, W] of `area` [N] pixels. -> [N]."""
    return ((a - b).abs() * mask).sum(dim=(1, 2, 3)) / area / 3


def _relit(view: Tensor, uniform: Tensor) -> Tensor:
    """Views with other brightness (+-0.15), contrast and saturation, by which no discriminator may go.

    Args:
        view: Signal, [N, 3, H, W].
        uniform: In [0, 1), [N, 3]; 0.5 changes nothing.
    """
    u = (uniform * 2 - 1)[:, :, None, None, None]
    grey = view.mean(dim=1, keepdim=True)
    middle = grey.mean(dim=(2, 3), keepdim=True)
    view = grey + (view - grey) * (1 + 0.25 * u[:, 2])
    view = (view - middle) * (1 + 0.2 * u[:, 1]) + middle + 0.15 * u[:, 0]
    return view.contiguous(memory_format=torch.channels_last)


def _adam(module: torch.nn.Module, rate: float, *, beta1: float) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=rate, betas=(beta1, 0.99), eps=1e-8, fused=True)


def _decay(
    optimizer: torch.optim.Optimizer, config: StageConfig, rate: float, iteration: int, start: float = 2 / 3
) -> None:
    """Set the learning rate of an iteration: `rate`, from the share `start` of the stage on linearly to a tenth."""
    done = iteration * config.batch / (config.total_kimg * 1000)
    share = min(max((done - start) / (1 - start), 0.0), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate * (1 - 0.9 * share)


def _channels_last(module: Network) -> Network:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _pixels(views: Tensor) -> Tensor:
    return signal_to_pixels(views.float()).cpu()


def _snapshot_card(training_set: PainterTrainingSet, schedule: StageConfig, stage: str, features: str) -> TrainingCard:
    config = training_set.config
    training: dict[str, Any] = {
        "stage": stage, "seed": config.seed, "features": features,
        **schedule.model_dump(mode="json", exclude={"total_kimg"}),
    }  # fmt: skip
    return TrainingCard(
        method="painter", category=training_set.category, data_digest=training_set.digest,
        num_images=training_set.num_images, training=training, networks=config.model.model_dump(mode="json"),
        versions=library_versions(),
    )  # fmt: skip
