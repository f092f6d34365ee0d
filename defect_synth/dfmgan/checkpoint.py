"""Checkpoints of the paper's networks: the backbone of stage 1, a DFMGAN of one defect, a bundle of several."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from defect_synth.config import Count, Defects, Name, Text
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import ModelConfig
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.engine.checkpoint import Card, Checkpoint, restore

DFMGANKind = Literal["backbone", "dfmgan", "dfmgan-set"]


class DFMGANCard(Card):
    """Card of a trained backbone or DFMGAN.

    Attributes:
        kind: `backbone` (stage 1), `dfmgan` (one defect category) or `dfmgan-set` (a bundle).
        model: Sizes of the networks.
        defect: Defect category; None for a backbone of normal images and for a bundle.
        defects: Defect categories of a bundle.
        data_digest: Identifies the training images.
        num_images: How many there were.
        score: Distance of the snapshot to the validation images; None: this is the last snapshot.
        origin: Where the weights come from.
    """

    kind: DFMGANKind
    model: ModelConfig
    defect: Name | None = None
    defects: Defects = ()
    data_digest: Text = ""
    num_images: Count = 0
    score: float | None = Field(None, ge=-1e30, le=1e30)
    origin: Text = "defect-synth train"


def build_generator(checkpoint: Checkpoint[DFMGANCard]) -> Backbone | DFMGAN:
    """The network of a `backbone` or `dfmgan` checkpoint, ready to generate (evaluation mode, no gradients).

    Raises:
        CheckpointError: The tensors do not fit the configuration, or are no numbers.
    """
    card = checkpoint.card
    # Built without drawing initial weights: nothing here may depend on, or move, the global random state.
    with torch.device("meta"):
        network = DFMGAN(card.model) if card.kind == "dfmgan" else Backbone(card.model.backbone)
    restore(network, checkpoint.tensors, checkpoint.path)
    return network.eval().requires_grad_(False)
