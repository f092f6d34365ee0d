"""What is computed from filters alone, kept for networks whose weights never change again."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

_NAME = "_defect_synth_kept"


def keep(module: nn.Module) -> None:
    """Say that the weights of `module` stay as they are: what is computed from its filters is computed once.

    For networks that draw samples. Not for training: a fused optimiser changes weights without leaving a trace, so
    nothing else could tell that what was kept is stale.
    """
    for parameter in module.parameters():
        if parameter.ndim >= 2:
            setattr(parameter, _NAME, {})


def keeps(weight: Tensor) -> bool:
    """Whether `keep` was said of a weight."""
    return hasattr(weight, _NAME)


def kept(weight: Tensor, name: str, compute: Callable[[], Tensor]) -> Tensor:
    """`compute()`, or what it gave the last time."""
    store: dict[str, Tensor] | None = getattr(weight, _NAME, None)
    if store is None:
        return compute()
    if name not in store:
        store[name] = compute()
    return store[name]
