"""Draws docs/images/demo_dfmgan.png: the first samples of the DFMGANs that ship, not picked.

python -m tools.draw_demo_dfmgan
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from defect_synth.demo.models import shipped_dfmgan
from defect_synth.dfmgan.synthesizer import DefectSynthesizer

COLUMNS = 12


def main() -> None:
    """For each defect a row of clean images, of masks and of defect images."""
    synthesizer = DefectSynthesizer.load(shipped_dfmgan())
    rows = []
    for defect in synthesizer.defects:
        samples = synthesizer.sample(defect, range(COLUMNS))
        rows.append(np.hstack([sample.clean for sample in samples if sample.clean is not None]))
        rows.append(np.hstack([np.repeat(sample.mask[:, :, None] * np.uint8(255), 3, 2) for sample in samples]))
        rows.append(np.hstack([sample.image for sample in samples]))
    cv2.imwrite(str(Path(__file__).parents[1] / "docs" / "images" / "demo_dfmgan.png"), np.vstack(rows)[:, :, ::-1])


if __name__ == "__main__":
    main()
