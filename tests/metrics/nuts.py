"""Small images with defects, and images of noise, as tensors."""

import numpy as np
import torch

from tests.fake_data import fake_nut


def nuts(count, seed, defect="hole", size=64):
    rng = np.random.default_rng(seed)
    images, masks = zip(*(fake_nut(rng, size, defect) for _ in range(count)), strict=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(np.stack(masks))


def noise(count, size=64):
    return torch.from_numpy(np.random.default_rng(9).integers(0, 256, (count, 3, size, size), dtype=np.uint8))
