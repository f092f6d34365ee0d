"""A snapshot file as configuration and weights of our networks, every tensor checked against the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from defect_synth.config import BackboneConfig, DiscriminatorConfig, ModelConfig
from defect_synth.errors import CheckpointError
from defect_synth.official.names import to_ours_discriminator, to_ours_generator
from defect_synth.official.settings import Stage, model_config, stage_of
from defect_synth.official.snapshot import read_snapshot

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ImportedSnapshot:
    """Everything of a snapshot that our program uses; state_dicts in our names, float32.

    Attributes:
        config: What to build the networks with.
        generator: For `Backbone` (stage 1) or `DFMGAN` (stage 2): the weights as trained.
        generator_ema: The same, averaged over training: the ones to generate with.
        discriminator: D.
        match_discriminator: D_match, None where the file has none.
        stage: 1 for a backbone, 2 for a DFMGAN.
    """

    config: ModelConfig
    generator: dict[str, Tensor]
    generator_ema: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    match_discriminator: dict[str, Tensor] | None
    stage: Stage


def import_snapshot(path: str | Path) -> ImportedSnapshot:
    """Read a `.pkl` of the authors' trainer or of StyleGAN2-ADA, executing nothing of it.

    Raises:
        CheckpointError: Not such a file, damaged, unsafe, of an unsupported variant, or with tensors that contradict
            its own settings.
    """
    snapshot = read_snapshot(path)
    config = model_config(snapshot)
    stage = stage_of(snapshot)
    generators = {}
    for name in ("G", "G_ema"):
        with _named(snapshot.path, name):
            generators[name] = to_ours_generator(snapshot.networks[name].tensors, config)
            _check_shapes(generators[name], _generator_shapes(config, stage))
    discriminators = {}
    resolution, channels = config.backbone.resolution, config.backbone.image_channels
    for name, shapes in (
        ("D", _discriminator_shapes(config.discriminator, resolution, channels)),
        ("D_match", _discriminator_shapes(config.match_discriminator, resolution, channels + 1)),  # image and mask
    ):
        if name in snapshot.networks:
            with _named(snapshot.path, name):
                discriminators[name] = to_ours_discriminator(snapshot.networks[name].tensors)
                _check_shapes(
                    discriminators[name], _discriminator_shapes(numbers, config.backbone.resolution, channels)
                )
    return ImportedSnapshot(
        config, generators["G"], generators["G_ema"], discriminators["D"], discriminators.get("D_match"), stage
    )


@contextmanager
def _named(path: Path, network: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {network}: {error}") from error


def _check_shapes(state: Mapping[str, Tensor], expected: Shapes) -> None:
    missing = sorted(expected.keys() - state.keys())
    if missing:
        raise CheckpointError(f"{len(missing)} tensors are missing that its settings ask for, such as {missing[0]}")
    unknown = sorted(state.keys() - expected.keys())
    if unknown:
        raise CheckpointError(f"{len(unknown)} tensors are beyond what its settings ask for, such as {unknown[0]}")
    for name, tensor in state.items():
        if tuple(tensor.shape) != expected[name]:
            raise CheckpointError(f"{name} has shape {list(tensor.shape)}; its settings give {list(expected[name])}")


def _generator_shapes(config: ModelConfig, stage: Stage) -> Shapes:
    backbone = _backbone_shapes(config.backbone)
    if stage == 1:
        return backbone
    shapes = _under("backbone", backbone) | _under("defect_mapping", _mapping_shapes(config.backbone))
    for resolution in config.residual_resolutions:
        shapes |= _under(f"residual.blocks.{resolution}", _block_shapes(config.backbone, resolution))
    return shapes | _under("residual.to_mask", _to_image_shapes(config.backbone, config.residual.first_resolution, 1))


def _backbone_shapes(config: BackboneConfig) -> Shapes:
    shapes = _under("mapping", _mapping_shapes(config))
    for resolution in config.block_resolutions:
        block = _block_shapes(config, resolution)
        block |= _under("to_rgb", _to_image_shapes(config, resolution, config.image_channels))
        shapes |= _under(f"synthesis.blocks.{resolution}", block)
    return shapes | {"synthesis.blocks.4.const": (config.channels(4), 4, 4)}


def _mapping_shapes(config: BackboneConfig) -> Shapes:
    shapes: Shapes = {"w_avg": (config.w_dim,)}
    for layer in range(config.mapping_layers):
        shapes[f"layers.{layer}.weight"] = (config.w_dim, config.w_dim if layer else config.z_dim)
        shapes[f"layers.{layer}.bias"] = (config.w_dim,)
    return shapes


def _block_shapes(config: BackboneConfig, resolution: int) -> Shapes:
    """The convolutions that object and residual blocks have alike; at 4 a constant takes the place of `up`."""
    out = config.channels(resolution)
    convolutions = {"conv": out} if resolution == 4 else {"up": config.channels(resolution // 2), "conv": out}
    shapes: Shapes = {}
    for name, channels in convolutions.items():
        convolution = {
            "weight": (out, channels, 3, 3),
            "bias": (out,),
            "noise_strength": (),
            "noise_const": (resolution, resolution),
            "affine.weight": (channels, config.w_dim),
            "affine.bias": (channels,),
        }
        shapes |= _under(name, convolution)
    return shapes


def _to_image_shapes(config: BackboneConfig, resolution: int, out: int) -> Shapes:
    channels = config.channels(resolution)
    return {
        "weight": (out, channels, 1, 1),
        "bias": (out,),
        "affine.weight": (channels, config.w_dim),
        "affine.bias": (channels,),
    }


def _discriminator_shapes(config: DiscriminatorConfig, resolution: int, in_channels: int) -> Shapes:
    def channels(side: int) -> int:
        return min(config.channel_base // side, config.channel_max)

    top, last = channels(resolution), channels(4)
    shapes: Shapes = {"from_rgb.weight": (top, in_channels, 1, 1), "from_rgb.bias": (top,)}
    side = resolution
    while side > 4:
        wide, narrow = channels(side), channels(side // 2)
        block: Shapes = {
            "conv.weight": (wide, wide, 3, 3),
            "conv.bias": (wide,),
            "down.weight": (narrow, wide, 3, 3),
            "down.bias": (narrow,),
            "skip.weight": (narrow, wide, 1, 1),
        }
        shapes |= _under(f"blocks.{side}", block)
        side //= 2
    epilogue: Shapes = {
        "conv.weight": (last, last + 1, 3, 3),  # one more channel: the minibatch standard deviation
        "conv.bias": (last,),
        "fc.weight": (last, last * 16),
        "fc.bias": (last,),
        "out.weight": (1, last),
        "out.bias": (1,),
    }
    return shapes | _under("epilogue", epilogue)


def _under(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
