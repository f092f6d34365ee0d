"""Tensors derived from the weights of a layer, cached for networks whose weights never change again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_CACHE = "_defect_synth_weight_cache"


def enable_weight_cache(network: nn.Module) -> None:
    """Declare the filters of a network final, so that whatever is computed from them is computed once.

    This is for networks that draw samples. During training a fused optimiser changes weights in place without a trace
    in the tensors' version counters, so that a stale cache could not be detected.
    """
    for parameter in network.parameters():
        if parameter.ndim >= 2:
            setattr(parameter, _CACHE, {})


def has_weight_cache(weight: Tensor) -> bool:
    """Whether `enable_weight_cache` was called for the network of this weight."""
    return hasattr(weight, _CACHE)


def cached(weight: Tensor, name: str, compute: Callable[[], Tensor]) -> Tensor:
    """The result of `compute`, stored with the weight under a name if the weight has a cache.

    Where gradients are recorded the result is always computed, so that it is part of the graph.
    """
    cache: dict[str, Tensor] | None = getattr(weight, _CACHE, None)
    if cache is None or torch.is_grad_enabled():
        return compute()
    if name not in cache:
        cache[name] = compute()
    return cache[name]
