"""From the constructor arguments in a snapshot to our `ModelConfig`; what we do not have is refused by name."""

from __future__ import annotations

from typing import Any, Literal

from defect_synth.config import shortened, validated
from defect_synth.dfmgan.config import ModelConfig
from defect_synth.dfmgan.official.snapshot import NetworkState, OfficialSnapshot
from defect_synth.errors import CheckpointError, ConfigError

StageNumber = Literal[1, 2]
NO_CLAMP = 1e30
"""Stands for `conv_clamp=None`: no activation gets so large, and it is finite in float32."""

_LAYERS: dict[str, Any] = {"activation": ("lrelu",), "resample_filter": ([1, 3, 3, 1],)}
_MAPPING: dict[str, Any] = {"activation": ("lrelu",), "lr_multiplier": (0.01,)}
_SYNTHESIS: dict[str, Any] = _LAYERS | {
    "architecture": ("skip",),
    "use_noise": (True,),
    "no_round": (False,),  # True is a soft mask instead of Eq. 1
    "tanh_mask": (None, "none", "late"),  # "early" puts the tanh into G; "late" concerns only the losses
}
_EPILOGUE: dict[str, Any] = {"activation": ("lrelu",), "mbstd_num_channels": (1,)}


def stage_of(snapshot: OfficialSnapshot) -> StageNumber:
    """1 for a backbone, as in any StyleGAN2-ADA snapshot; 2 where G has the defect branch.

    Raises:
        CheckpointError: The argument `transfer` is not one of the paper, or contradicts the tensors.
    """
    generator = _network(snapshot, "G_ema")
    transfer = generator.init_kwargs.get("transfer")
    if transfer not in (None, "none", "res_block", "res_block_match_dis"):
        raise CheckpointError(
            f"{snapshot.path} was trained with transfer={shortened(transfer)}; expected none, res_block or "
            "res_block_match_dis"
        )
    has_branch = any(name.startswith("defect_mapping.") for name in generator.tensors)
    if has_branch != (transfer not in (None, "none")):
        raise CheckpointError(
            f"{snapshot.path}: G_ema has {'a' if has_branch else 'no'} defect branch, but transfer="
            f"{shortened(transfer)}; the file contradicts itself"
        )
    return 2 if has_branch else 1


def model_config(snapshot: OfficialSnapshot) -> ModelConfig:
    """The sizes of our networks into which the tensors of `snapshot` fit.

    An argument that the file does not list has StyleGAN2-ADA's default. `num_fp16_res` is ignored: it concerns speed,
    and the precision of a run is chosen elsewhere. Files of stage 1 say nothing about the defect branch and D_match,
    which keep our defaults.

    Raises:
        CheckpointError: A network is missing, is conditional, or was built with something our networks lack.
    """
    generator = _network(snapshot, "G_ema").init_kwargs
    stage = stage_of(snapshot)
    for name in ("G", "G_ema", "D"):
        _check(snapshot, name)
    mapping, synthesis = _section(snapshot, "G_ema", "mapping_kwargs"), _section(snapshot, "G_ema", "synthesis_kwargs")
    resolution = _required(snapshot, "img_resolution")
    channels = _required(snapshot, "img_channels")
    if channels not in (1, 3):
        raise CheckpointError(
            f"{snapshot.path}: G makes {shortened(channels)} image channels; expected 3, or 1 for grey"
        )

    clamp = synthesis.get("conv_clamp")
    for name in ("D", "D_match"):
        if name in snapshot.networks and (other := _network(snapshot, name).init_kwargs.get("conv_clamp")) != clamp:
            raise CheckpointError(
                f"{snapshot.path}: conv_clamp is {shortened(clamp)} in G_ema and {shortened(other)} in {name}; "
                "expected one value"
            )
    values: dict[str, Any] = {
        "backbone": {
            "resolution": resolution,
            "z_dim": _required(snapshot, "z_dim"),
            "w_dim": _required(snapshot, "w_dim"),
            "mapping_layers": mapping.get("num_layers", 8),
            "channel_base": synthesis.get("channel_base", 32768),
            "channel_max": synthesis.get("channel_max", 512),
            "conv_clamp": NO_CLAMP if clamp is None else clamp,
            "image_channels": channels,
        },
        "discriminator": _discriminator(snapshot, "D"),
    }
    if stage == 2:
        values["residual"] = {
            "first_resolution": synthesis.get("res_st", 64),
            "mask_threshold": generator.get("mask_threshold", 0.0),
            "mask_dtype": "float16",  # their G rounds its mask to float16, whatever its precision
        }
    elif isinstance(resolution, int):
        values["residual"] = {"first_resolution": max(8, resolution // 4)}  # 64 of 256, as in the paper
    if "D_match" in snapshot.networks:
        _check(snapshot, "D_match")
        values["match_discriminator"] = _discriminator(snapshot, "D_match")
    try:
        return validated(ModelConfig, values)
    except ConfigError as error:
        raise CheckpointError(f"{snapshot.path} describes a network that cannot be imported: {error}") from error


def _discriminator(snapshot: OfficialSnapshot, name: str) -> dict[str, Any]:
    arguments = _network(snapshot, name).init_kwargs
    group = _section(snapshot, name, "epilogue_kwargs").get("mbstd_group_size", 4)
    if group is None:
        raise CheckpointError(f"{snapshot.path}: {name} has mbstd_group_size=None (whole batch); expected a number")
    return {
        "channel_base": arguments.get("channel_base", 32768),
        "channel_max": arguments.get("channel_max", 512),
        "minibatch_std_group": group,
    }


def _check(snapshot: OfficialSnapshot, name: str) -> None:
    """Refuse a network that computes something else than ours, although its tensors may have the same shapes."""
    arguments = _network(snapshot, name).init_kwargs
    labels = arguments.get("c_dim", 0)
    if labels:
        raise CheckpointError(
            f"{snapshot.path}: {name} is conditional (c_dim={shortened(labels)}), which is not supported; "
            "expected c_dim=0: train one model per defect, without --cond"
        )
    if name.startswith("G"):
        sections = {"mapping_kwargs": _MAPPING, "synthesis_kwargs": _SYNTHESIS}
    else:
        sections = {"block_kwargs": _LAYERS, "epilogue_kwargs": _EPILOGUE}
        _only(snapshot, name, arguments, {"architecture": ("resnet",)})
    for section, accepted in sections.items():
        _only(snapshot, name, _section(snapshot, name, section), accepted)


def _only(snapshot: OfficialSnapshot, name: str, arguments: dict[str, Any], accepted: dict[str, Any]) -> None:
    for key, values in accepted.items():
        if key in arguments and arguments[key] not in values:
            note = " (soft mask)" if key == "no_round" else ""
            raise CheckpointError(
                f"{snapshot.path}: {name} was built with {key}={shortened(arguments[key])}{note}, which is not "
                f"supported; expected {' or '.join(map(repr, values))}"
            )


def _network(snapshot: OfficialSnapshot, name: str) -> NetworkState:
    if name not in snapshot.networks:
        found = ", ".join(snapshot.networks) or "none"
        raise CheckpointError(f"{snapshot.path} holds no {name} (networks found: {found}); expected G, G_ema and D")
    return snapshot.networks[name]


def _section(snapshot: OfficialSnapshot, name: str, section: str) -> dict[str, Any]:
    value = _network(snapshot, name).init_kwargs.get(section, {})
    if not isinstance(value, dict):
        raise CheckpointError(f"{snapshot.path}: {section} of {name} is {shortened(value)}; expected named arguments")
    return value


def _required(snapshot: OfficialSnapshot, key: str) -> Any:
    arguments = _network(snapshot, "G_ema").init_kwargs
    if key not in arguments:
        raise CheckpointError(f"{snapshot.path}: G_ema was built without {key}, so its size is unknown")
    return arguments[key]
