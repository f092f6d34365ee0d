"""The Inception features of published KID and FID, computed by torch-fidelity.

The network is Inception-v3 (Szegedy et al. 2016) as in TensorFlow's graph of 2015-12-05, with the resizing of
TensorFlow 1. Only with these weights and this resizing are figures comparable with published ones. The package is the
extra `fid`; the weights are not shipped (90 MB) and not downloaded: the user names the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defect_synth.errors import CheckpointError, MissingExtraError
from defect_synth.metrics.pooling import dilate, in_batches
from defect_synth.metrics.weights_file import read_tensors, tensors_digest
from defect_synth.nn.batch_norm import fold_batch_norm

WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
_EXPECTED = (
    f"expected {WEIGHTS_FILE} of github.com/mseitzer/pytorch-fid (release fid_weights) or torch-fidelity's copy of it, "
    "given with --inception"
)
_MEAN_COLOUR = 128  # becomes exactly 0 in the network


class InceptionFeatures:
    """The 2,048 pooled features that published KID is computed from, under the name "Inception".

    Args:
        path: `pt_inception-2015-12-05-6726825d.pth`. It is read without executing anything in it.

    Raises:
        MissingExtraError: torch-fidelity is not installed.
        CheckpointError: The file is missing, unreadable or of another network.
    """

    name = "Inception"

    def __init__(self, path: str | Path) -> None:
        tensors = read_tensors(path, _EXPECTED)
        content = io.BytesIO()
        torch.save(tensors, content)
        content.seek(0)
        try:
            # torch-fidelity unpickles what it is given: it gets our own copy of the tensors and never the file.
            self._network: nn.Module = _network_class()("inception", ["2048"], content)
        except (RuntimeError, AttributeError) as error:  # other names or shapes
            raise CheckpointError(f"{path} holds another network; {_EXPECTED}") from error
        self.digest = f"{self.name} {tensors_digest(tensors)}"
        fold_batch_norm(self._network)
        self._network.to(memory_format=torch.channels_last)

    def to(self, device: torch.device | str) -> InceptionFeatures:
        """Move the weights and return the extractor itself."""
        self._network.to(device)
        return self

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, 2048] or [N, 4096].

        With masks the network is run a second time on the image in which everything but the defect and its rim has the
        mean colour.
        """
        return in_batches(self._features, images, masks)

    def _features(self, images: Tensor, masks: Tensor | None) -> Tensor:
        images = images.to(next(self._network.parameters()).device)
        (features,) = self._network(images)
        if masks is None:
            return features  # type: ignore[no-any-return]
        near = dilate(masks).to(images.device) > 0
        (around,) = self._network(torch.where(near, images, images.new_tensor(_MEAN_COLOUR)))
        return torch.cat([features, around], dim=1)


def _network_class() -> Callable[..., Any]:
    from defect_synth.nn.torchvision_import import ensure_torchvision

    ensure_torchvision()
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise MissingExtraError("torch-fidelity", "fid", "KID with Inception features") from None
    return FeatureExtractorInceptionV3  # type: ignore[no-any-return]
