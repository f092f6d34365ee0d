from __future__ import annotations

import cv2
import numpy as np
import torch

from defect_synth.engine.contact_sheet import save_grid


def test_images_are_side_by_side_in_rows_and_missing_ones_are_dark(tmp_path):
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_grid(tmp_path / "sheet.png", images, columns=2)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[:, :, ::-1]
    assert sheet.shape == (8, 8, 3)
    np.testing.assert_array_equal(sheet[:4, 4:], images[1].permute(1, 2, 0))
    np.testing.assert_array_equal(sheet[4:, :4], images[2].permute(1, 2, 0))
    assert (sheet[4:, 4:] == 32).all()


def test_grey_images_become_colour(tmp_path):
    save_grid(tmp_path / "sheet.png", torch.full((1, 1, 2, 2), 9, dtype=torch.uint8), columns=1)
    assert (cv2.imread(str(tmp_path / "sheet.png")) == 9).all()
