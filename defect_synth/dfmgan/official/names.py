"""The authors' tensor names and ours, in both directions.

There is one table per network; its pairs are read from left to right on import and from right to left on export. `{r}`
is a resolution, `{i}` the number of a layer, `{t}` a tensor of the layer, such as `weight` or `affine.bias`. Each of
their layers also stores its fixed resampling filter. Ours do not: the filter is compared with ours and dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from defect_synth.dfmgan.config import ModelConfig
from defect_synth.errors import CheckpointError
from defect_synth.nn.upfirdn import BINOMIAL

Pairs = tuple[tuple[str, str], ...]

_BACKBONE: Pairs = (
    ("mapping.fc{i}.{t}", "mapping.layers.{i}.{t}"),
    ("mapping.w_avg", "mapping.w_avg"),
    ("synthesis.b{r}.const", "synthesis.blocks.{r}.const"),
    ("synthesis.b{r}.conv0.{t}", "synthesis.blocks.{r}.up.{t}"),
    ("synthesis.b{r}.conv1.{t}", "synthesis.blocks.{r}.conv.{t}"),
    ("synthesis.b{r}.torgb.{t}", "synthesis.blocks.{r}.to_rgb.{t}"),
)
_DEFECT: Pairs = (
    ("defect_mapping.fc{i}.{t}", "defect_mapping.layers.{i}.{t}"),
    ("defect_mapping.w_avg", "defect_mapping.w_avg"),
    ("synthesis.res_b{r}.conv0.{t}", "residual.blocks.{r}.up.{t}"),
    ("synthesis.res_b{r}.conv1.{t}", "residual.blocks.{r}.conv.{t}"),
)
_DISCRIMINATOR: Pairs = (
    ("b{r}.conv0.{t}", "blocks.{r}.conv.{t}"),
    ("b{r}.conv1.{t}", "blocks.{r}.down.{t}"),
    ("b{r}.skip.{t}", "blocks.{r}.skip.{t}"),
    ("b4.conv.{t}", "epilogue.conv.{t}"),
    ("b4.fc.{t}", "epilogue.fc.{t}"),
    ("b4.out.{t}", "epilogue.out.{t}"),
)
_FIELDS = {"r": r"(?P<r>\d{1,4})", "i": r"(?P<i>\d{1,4})", "t": r"(?P<t>(?:affine\.)?[a-z_]+)"}
_FILTER = "resample_filter"


def to_ours_generator(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Their G or G_ema as the `state_dict` of `DFMGAN`, or of `Backbone` if it has no defect branch.

    Raises:
        CheckpointError: A tensor that no such network has, or another resampling filter than [1, 3, 3, 1].
    """
    with_defects = any(name.startswith(("defect_mapping.", "synthesis.res_b")) for name in state)
    return _renamed(_without_filters(state), _generator_pairs(config, with_defects))


def to_official_generator(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of `to_ours_generator`, resampling filters included.

    Raises:
        CheckpointError: A tensor that neither `DFMGAN` nor `Backbone` has.
    """
    with_defects = any(name.startswith("backbone.") for name in state)
    theirs = _renamed(state, _reversed(_generator_pairs(config, with_defects)))
    layers = {name.removesuffix(".noise_const") for name in theirs if name.endswith(".noise_const")}
    return _with_filters(theirs, layers | {layer.rpartition(".")[0] for layer in layers})


def to_ours_discriminator(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their D or D_match as the `state_dict` of our discriminator.

    Raises:
        CheckpointError: A tensor that no such network has, or another resampling filter than [1, 3, 3, 1].
    """
    return _renamed(_without_filters(state), _discriminator_pairs(state, r"b(\d{1,4})\."))


def to_official_discriminator(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_ours_discriminator`, resampling filters included.

    Raises:
        CheckpointError: A tensor that our discriminator does not have.
    """
    theirs = _renamed(state, _reversed(_discriminator_pairs(state, r"blocks\.(\d{1,4})\.")))
    layers = {name.removesuffix(".weight") for name in theirs if name.endswith(".weight")} - {"b4.fc", "b4.out"}
    return _with_filters(theirs, layers | {layer.rpartition(".")[0] for layer in layers} - {"b4"})


def _generator_pairs(config: ModelConfig, with_defects: bool) -> Pairs:
    if not with_defects:
        return _BACKBONE
    inside = tuple((theirs, f"backbone.{ours}") for theirs, ours in _BACKBONE)
    to_mask = (f"synthesis.res_b{config.residual.first_resolution}.torgb.{{t}}", "residual.to_mask.{t}")
    return (*inside, *_DEFECT, to_mask)


def _discriminator_pairs(state: Iterable[str], block: str) -> Pairs:
    resolutions = [int(found[1]) for name in state if (found := re.match(block, name))]
    return (*_DISCRIMINATOR, (f"b{max(resolutions, default=4)}.fromrgb.{{t}}", "from_rgb.{t}"))


def _reversed(pairs: Pairs) -> Pairs:
    return tuple((ours, theirs) for theirs, ours in pairs)


def _renamed(state: Mapping[str, Tensor], pairs: Pairs) -> dict[str, Tensor]:
    patterns = [(_pattern(source), target) for source, target in pairs]
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, target in patterns:
            if found := pattern.fullmatch(name):
                renamed[target.format(**found.groupdict())] = tensor
                break
        else:
            raise CheckpointError(f"tensor {name!r} belongs to no StyleGAN2 or DFMGAN network that can be imported")
    return renamed


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\{", "{").replace(r"\}", "}").format(**_FIELDS))


def _without_filters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    expected = _binomial_filter()
    for name, tensor in state.items():
        is_filter = name.endswith(f".{_FILTER}")
        if is_filter and not (tensor.shape == expected.shape and torch.allclose(tensor, expected, atol=1e-6)):
            raise CheckpointError(f"{name!r} is not the [1, 3, 3, 1] filter of StyleGAN2, the only one supported")
    return {name: tensor for name, tensor in state.items() if not name.endswith(f".{_FILTER}")}


def _with_filters(state: dict[str, Tensor], owners: set[str]) -> dict[str, Tensor]:
    return state | {f"{owner}.{_FILTER}": _binomial_filter() for owner in sorted(owners)}


def _binomial_filter() -> Tensor:
    taps = torch.tensor(BINOMIAL)
    return taps.outer(taps)  # [4, 4], sums to 1
