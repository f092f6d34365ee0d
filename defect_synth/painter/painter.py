"""A trained painter: learnt defects on the user's own normal images, and on those stored in its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from defect_synth.engine.loop import MODEL_FILE
from defect_synth.errors import CheckpointError
from defect_synth.nn import native
from defect_synth.nn.memory import keep_memory
from defect_synth.nn.threads import map_on_threads
from defect_synth.nn.weight_cache import enable_weight_cache
from defect_synth.painter.checkpoint import PAINTER_FOLDER, load_painter, painter_file
from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.network import PainterModel
from defect_synth.painter.painter_base import PainterBase, PainterDescription
from defect_synth.painter.product_assets import unpack_product_assets
from defect_synth.painter.region_painting import Floats, NetworkInput
from defect_synth.samples import Pixels

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Painter(PainterBase):
    """Paints defects where a mask says; see `PainterBase` for what it can do.

    Args:
        path: A painter's checkpoint; `load` finds it in a run folder.
        normals: Images uint8 [H, W, 3] to paint on as a source; None: those in the checkpoint.
        donor_prob: How likely an attempt at a painting starts from a real defect; unless it is 0, the third attempt
            always does where one fits. None: `painter_base.DONOR_PROB`.

    Attributes:
        card: The checkpoint's card.

    Raises:
        CheckpointError: `path` is no painter.
        ConfigError: `donor_prob` is not in 0..1.

    Example:
        >>> painter = Painter.load("runs/bottle")                                     # doctest: +SKIP
        >>> mask = painter.propose_mask("broken_small", foreground, seed=0)           # doctest: +SKIP
        >>> image = painter.paint(normal, mask, "broken_small", seed=0)               # doctest: +SKIP
    """

    def __init__(self, path: Path, *, normals: Sequence[Pixels] | None = None, donor_prob: float | None = None) -> None:
        keep_memory()
        checkpoint = load_painter(path)
        card = self.card = checkpoint.card
        enable_weight_cache(checkpoint.network)
        pngs = {name: tensor.numpy() for name, tensor in checkpoint.assets.items()}
        super().__init__(
            path,
            PainterDescription(card.category, card.defects, card.reference, card.model),
            unpack_product_assets(card.category, card.defects, card.product, pngs, path),
            _TorchNetwork(checkpoint.network),
            f"{checkpoint.digest} {native.describe()}",  # the same weights paint other last bits with other kernels
            normals=normals,
            donor_prob=donor_prob,
        )

    @classmethod
    def load(
        cls, path: str | Path, *, normals: Sequence[Pixels] | None = None, donor_prob: float | None = None
    ) -> Painter:
        """Open the painter at a path.

        Args:
            path: A run folder of `defect-synth train --method painter`, or a checkpoint file.
            normals: As for the class.
            donor_prob: As for the class.

        Raises:
            CheckpointError: There is no painter.
            ConfigError: `donor_prob` is not in 0..1.
        """
        path = Path(path)
        if path.is_dir():
            found = painter_file(path)
            if found is None:
                raise CheckpointError(
                    f"{path} has no {PAINTER_FOLDER}/{MODEL_FILE}; train one with `defect-synth train DATA "
                    "--method painter`, or continue with --resume"
                )
            path = found
        return cls(path, normals=normals, donor_prob=donor_prob)

    def _map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        return map_on_threads(function, items)


class _TorchNetwork:
    """A `PainterModel` that takes and gives NumPy arrays."""

    def __init__(self, model: PainterModel) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, inputs: NetworkInput) -> tuple[Floats, Floats]:
        def tensor(values: Floats) -> torch.Tensor:
            found = torch.from_numpy(values)
            # One concatenation of mixed memory layouts would slow down all layers that follow.
            return found.contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found

        view, mask, donor, label = map(tensor, (inputs.view, inputs.mask, inputs.donor, inputs.defect))
        codes = PaintingCodes(*map(tensor, inputs.codes))
        if inputs.has_donor.all():
            painted = self._model.paint_from_donors(view, mask, donor, codes, label)
        else:
            painted = self._model(view, mask, donor, tensor(inputs.has_donor) > 0.5, codes, label)
        return painted.colour.numpy(), painted.opacity.numpy()
