"""Makes DFMGANs of the embedded product fit to ship: `python -m tools.make_demo_dfmgan OUTPUT`, hours on a CPU.

They learn from the procedural hazelnut only, so nothing in them has an owner. Bytes depend on the processor and on the
version of torch, and are no part of any promise; that they draw such defects is.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from defect_synth.atomic import replacing
from defect_synth.config import override
from defect_synth.dfmgan.bundle import pack
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import FAST_64
from defect_synth.dfmgan.transfer import dfmgan_card
from defect_synth.engine.checkpoint import TrainingCard, load_checkpoint, read_card, save_checkpoint
from defect_synth.engine.loop import MODEL_FILE
from defect_synth.engine.snapshot import STATE

IMAGES: dict[str, Any] = {"resolution": 128, "good": 400, "test_good": 20, "per_defect": 25, "seed": 1}
VALIDATION_FRACTION = 0.2
# Masks at half the image's side instead of a quarter, and a D_match that sees lines: a crack is one pixel wide at 64.
SETTINGS: dict[str, Any] = {
    "model.residual.first_resolution": 32, "model.match_discriminator.channel_base": 2048,
    "model.match_discriminator.channel_max": 64, "pretrain.total_kimg": 46.0, "pretrain.r1_gamma": 8.0,
    "transfer.r1_gamma": 0.4, "transfer.lambda_mode_seeking": 0.01, "transfer.protocol.mask_leak": 0.0,
    "validation_fraction": VALIDATION_FRACTION,
}  # fmt: skip
KIMG = {"crack": 2.5, "cut": 5.0, "hole": 2.5, "print": 2.5}
"""Length of each stage 2, by its sheets: later the masks crumble."""

_AVERAGE = "module.average."
LICENCE = "Apache-2.0. Made from procedural images of this package; no photograph is in it."


def make(output: Path) -> None:
    """Draw the images, train on all of them but the validation parts, write weights in float16 and the card."""
    from defect_synth.data.layouts import index
    from defect_synth.data.partitions import everything
    from defect_synth.demo.mvtec_folder import write_demo
    from defect_synth.dfmgan.train import train_dfmgan

    with tempfile.TemporaryDirectory() as folder:
        table = index(write_demo(Path(folder) / "data", **IMAGES))
        partition = everything(table, VALIDATION_FRACTION, 0)
        for defect, kimg in KIMG.items():
            config = override(FAST_64, SETTINGS | {"transfer.total_kimg": kimg})
            train_dfmgan(table, partition, config, Path(folder) / "run", defects=[defect], resume=defect != "crack")
        keep_last(Path(folder) / "run")
        pack_demo(Path(folder) / "run", output)


def keep_last(run: Path) -> None:
    """Put each defect's last averaged weights in the place of its best: five validation images choose by chance."""
    for path in run.glob(f"defects/*/{STATE}"):
        state = load_checkpoint(path, TrainingCard)
        last = {n.removeprefix(_AVERAGE): t for n, t in state.tensors.items() if n.startswith(_AVERAGE)}
        kimg = float(state.tensors["number.iteration"]) * state.card.training["batch"] / 1000
        save_checkpoint(path.with_name(MODEL_FILE), dfmgan_card(state.card, kimg, None), last)


def pack_demo(run: Path, output: Path) -> None:
    """A trained run -> the file that ships and, beside it, its card as JSON."""
    pack({path.parent.name: path for path in run.glob("defects/*/model.safetensors")}, output, half=True, note=LICENCE)
    card = read_card(output, DFMGANCard).model_dump(mode="json") | {
        "made_by": "python -m tools.make_demo_dfmgan OUTPUT",
        "settings": SETTINGS | {"transfer.total_kimg": KIMG},
        "images": IMAGES | {"partition": "everything", "validation_fraction": VALIDATION_FRACTION},
        "snapshot": "last",
        "weights": "float16",
    }
    with replacing(output.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
