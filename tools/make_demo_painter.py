"""Makes the painter that ships with the package: `python -m tools.make_demo_painter OUTPUT`.

It learns from the procedural hazelnut only, so nobody owns its training images. The bytes of the file depend on the
processor and on the versions of torch and OpenCV.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from defect_synth.atomic import replacing
from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import split
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.painter.checkpoint import load_painter, painter_file, save_painter
from defect_synth.painter.config import PAINT_128
from defect_synth.painter.train import train_painter

LENGTHS = {"backbone.total_kimg": 2.4, "painter.total_kimg": 2.0}
IMAGES: dict[str, Any] = {"resolution": 256, "good": 48, "test_good": 0, "per_defect": 18, "seed": 0}
LICENCE = "Apache-2.0. Made from procedural images of this package; no photograph is in it."


def make(output: Path) -> None:
    """Draw the images, train on a third of each defect (partition P1), and write the painter with its card."""
    with tempfile.TemporaryDirectory() as folder:
        table = index(write_demo(Path(folder) / "data", **IMAGES))
        config = override(PAINT_128, LENGTHS)
        run = Path(folder) / "run"
        train_painter(table, split(table, "P1", 0.0), config, run)
        trained = painter_file(run)
        assert trained is not None
        pack_demo(trained, output)


def pack_demo(trained: Path, output: Path) -> None:
    """Write a trained painter with float16 weights and, beside it, its card as JSON."""
    checkpoint = load_painter(trained)
    shipped = checkpoint.card.model_copy(update={"licence_note": LICENCE})
    save_painter(output, shipped, checkpoint.network.state_dict(), checkpoint.assets, half=True)
    card = shipped.model_dump(mode="json", exclude={"product"}) | {
        "made_by": "python -m tools.make_demo_painter OUTPUT",
        "images": IMAGES | {"partition": "P1"},
        "weights": "float16",
    }
    with replacing(output.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
