"""A trained painter: learnt defects on the user's own normal image, and on the normals that travel with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from defect_synth.engine.loop import MODEL_FILE
from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.nn import native
from defect_synth.nn.memory import keep_memory
from defect_synth.nn.threads import map_on_threads
from defect_synth.nn.weight_cache import enable_weight_cache
from defect_synth.painter.checkpoint import PAINTER_FOLDER, load_painter, painter_file
from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.network import PainterModel
from defect_synth.painter.painter_base import DONOR_PROB, Easel, Job, Made, digest_of
from defect_synth.painter.product_assets import read_luggage
from defect_synth.painter.region_painting import Floats, Request
from defect_synth.samples import Pixels


class Painter(Easel):
    """Paints defects where a mask says; see `Easel` for what it can do.

    Example:
        >>> painter = Painter.load("runs/bottle")                                     # doctest: +SKIP
        >>> mask = painter.propose_mask("broken_small", foreground, seed=0)           # doctest: +SKIP
        >>> image = painter.paint(normal, mask, "broken_small", seed=0)               # doctest: +SKIP
    """

    def __init__(self, path: Path, *, normals: Sequence[Pixels] | None = None, donor_prob: float | None = None) -> None:
        """Use `load` instead, which finds the file.

        Args:
            path: A painter's checkpoint.
            normals: Images uint8 [H, W, 3] to paint on as a source; None: those in the checkpoint.
            donor_prob: How likely an attempt at a painting starts from a real defect; unless it is 0, the third always
                does where one fits. None: `easel.DONOR_PROB`.

        Raises:
            CheckpointError: Not a painter.
            ConfigError: `donor_prob` is not in 0..1.
        """
        if donor_prob is not None and not 0 <= donor_prob <= 1:
            raise ConfigError(f"donor_prob must lie in [0, 1], got {donor_prob}")
        keep_memory()
        self._path, self._given, self._donor_prob = path, normals, donor_prob
        self._open()

    def _open(self) -> None:
        checkpoint = load_painter(self._path)
        card = self.card = checkpoint.card
        # The same file paints other last bits with other kernels.
        self.digest = digest_of(f"{checkpoint.digest} {native.describe()}", self._donor_prob, self._given)
        enable_weight_cache(checkpoint.network)
        pictures = {name: tensor.numpy() for name, tensor in checkpoint.assets.items()}
        share = DONOR_PROB if self._donor_prob is None else self._donor_prob
        self._set_up(
            card.category, card.defects, card.reference, card.model.model_dump(),
            read_luggage(card.category, card.defects, card.product, pictures), _TorchNetwork(checkpoint.network),
            float(share), self._given, {} if self._donor_prob is None else {"donor_prob": self._donor_prob},
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> Painter:
        """Open a painter.

        Args:
            path: A run folder of `defect-synth train --method painter`, or a checkpoint file.
            settings: Keyword arguments of the class: normals, donor_prob.

        Raises:
            CheckpointError: No painter there.
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
        return cls(path, **settings)

    def _each(self, make: Callable[[Job], Made], jobs: Sequence[Job]) -> list[Made]:
        return map_on_threads(make, jobs)

    def __getstate__(self) -> dict[str, Any]:
        """Workers get the path, not the weights: each process opens the file itself."""
        return {"_path": self._path, "_given": self._given, "_donor_prob": self._donor_prob}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


class _TorchNetwork:
    """A `PainterModel` as a brush asks it."""

    def __init__(self, model: PainterModel) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, request: Request) -> tuple[Floats, Floats]:
        def tensor(values: Floats) -> torch.Tensor:
            found = torch.from_numpy(values)
            # Mixed layouts in one concatenation make slow ones of all that follow.
            return found.contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found

        codes = PaintingCodes(*map(tensor, request.codes))
        colour, opacity, _ = self._model.layers(
            tensor(request.view), tensor(request.mask), tensor(request.donor), tensor(request.has_donor) > 0.5,
            codes, tensor(request.defect),
        )  # fmt: skip
        return colour.numpy(), opacity.numpy()
