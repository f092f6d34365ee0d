from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from defect_synth.dfmgan.config import DiscriminatorConfig
from defect_synth.dfmgan.official import (
    model_config,
    read_snapshot,
)
from defect_synth.errors import CheckpointError
from tests.dfmgan.official.pickles import (
    content,
    dumps,
    imported,
)


def test_arguments_that_are_not_listed_have_the_defaults_of_stylegan2_ada(tmp_path: Path) -> None:
    """Weights of this size would be large, so only the settings are derived here."""
    tensors = {"mapping.w_avg": torch.zeros(4)}
    G = dict(z_dim=512, c_dim=0, w_dim=512, img_resolution=256, img_channels=3)
    D = dict(c_dim=0, img_resolution=256, img_channels=3)
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps(content({"G": (tensors, G), "G_ema": (tensors, G), "D": (tensors, D)})))

    config = model_config(read_snapshot(path))

    assert (config.backbone.channel_base, config.backbone.channel_max) == (32768, 512)
    assert config.backbone.mapping_layers == 8
    assert config.backbone.conv_clamp >= 1e30
    assert torch.tensor(config.backbone.conv_clamp, dtype=torch.float32).isfinite()
    assert config.discriminator == DiscriminatorConfig(channel_base=32768, channel_max=512, minibatch_std_group=4)
    assert config.residual.first_resolution == 64


def generators(**arguments: Any) -> Callable[[dict[str, Any]], None]:
    """Changes constructor arguments of G and G_ema; a dict is merged into the section of that name."""

    def change(parts: dict[str, Any]) -> None:
        for name in ("G", "G_ema"):
            for key, value in arguments.items():
                if isinstance(value, dict):
                    parts[name][1][key].update(value)
                else:
                    parts[name][1][key] = value

    return change


def discriminators(**arguments: Any) -> Callable[[dict[str, Any]], None]:
    return lambda parts: parts["D"][1].update(arguments)


def without(network: str, key: str | None = None) -> Callable[[dict[str, Any]], None]:
    return lambda parts: parts.pop(network) if key is None else parts[network][1].pop(key)


def tensor(network: str, name: str, value: torch.Tensor | None) -> Callable[[dict[str, Any]], None]:
    def change(parts: dict[str, Any]) -> None:
        if value is None:
            del parts[network][0][name]
        else:
            parts[network][0][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (generators(c_dim=4), r"G is conditional \(c_dim=4\).*one model per defect"),
        (discriminators(c_dim=3), r"D is conditional \(c_dim=3\)"),
        (generators(synthesis_kwargs={"no_round": True}), r"no_round=True \(soft mask\), which is not supported"),
        (generators(synthesis_kwargs={"tanh_mask": "early"}), "tanh_mask='early'"),
        (generators(synthesis_kwargs={"architecture": "resnet"}), "architecture='resnet'.*expected 'skip'"),
        (generators(synthesis_kwargs={"resample_filter": [1, 2, 1]}), r"resample_filter=\[1, 2, 1\]"),
        (generators(mapping_kwargs={"lr_multiplier": 0.1}), "lr_multiplier=0.1"),
        (discriminators(architecture="orig"), "D was built with architecture='orig'.*expected 'resnet'"),
        (discriminators(epilogue_kwargs={"mbstd_group_size": None}), "mbstd_group_size=None"),
        (discriminators(conv_clamp=None), "conv_clamp is 256 in G_ema and None in D"),
        (generators(transfer="dual_mod"), "transfer='dual_mod'; expected none"),
        (generators(transfer="none"), "a defect branch, but transfer='none'"),
        (generators(img_channels=4), "G makes 4 image channels"),
        (generators(img_resolution=2048), "cannot be imported: backbone.resolution"),
        (generators(img_resolution="64 px"), "cannot be imported: backbone.resolution"),
        (generators(img_resolution=128), "G: .* tensors are missing that its settings ask for"),
        (generators(synthesis_kwargs={"channel_max": 16}), r"G: .*has shape \[.*\]; its settings give \["),
        (generators(synthesis_kwargs={"res_st": 32}), "res_b16.torgb"),
        (discriminators(channel_base=2048), r"D: .*has shape \["),
        (generators(mapping_kwargs={"num_layers": 1}), r"G: 4 tensors are there that"),
        (without("G_ema"), "holds no G_ema"),
        (without("D"), "holds no D "),
        (without("G_ema", "z_dim"), "built without z_dim"),
        (
            tensor("G", "synthesis.b8.conv0.bias", None),
            r"G: 1 tensors are missing .* backbone.synthesis.blocks.8.up.bias",
        ),
        (tensor("D", "b8.extra.weight", torch.zeros(1)), "D: tensor 'b8.extra.weight' belongs to no"),
        (tensor("D", "b4.fc.weight", torch.zeros(1, 1)), r"D: epilogue.fc.weight has shape \[1, 1\]"),
        (tensor("G_ema", "synthesis.b8.resample_filter", torch.ones(4, 4)), r"G_ema: .* is not the \[1, 3, 3, 1\]"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], line: str
) -> None:
    with pytest.raises(CheckpointError, match=line) as error:
        imported(tmp_path, change, stage=2)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "a.pkl") in str(error.value)
