"""Paint defects on one image of your own: nothing to train, nothing to download.

    python docs/tutorials/first_steps.py my.png

Without an argument a procedural hazelnut is drawn and used.
"""

import sys
from pathlib import Path

import albumentations as A
import numpy as np
from PIL import Image

from defect_synth import DefectSynth, DefectSynthDataset
from defect_synth.demo.hazelnut import render

# 1. A normal image: uint8, [H, W, 3], RGB.
if len(sys.argv) > 1:
    image = np.asarray(Image.open(sys.argv[1]).convert("RGB"))
else:
    image = render(seed=8_000_000, resolution=256).image

# 2. "demo" is the painter that ships with the package. It has learnt four defects of hazelnuts, so on any other product
#    it shows how painting works, not what your defects look like.
transform = A.Compose([DefectSynth("demo", p=1.0)], seed=0)

# 3. A normal image has an empty mask; the transform returns the mask of what really changed.
out = transform(image=image, mask=np.zeros(image.shape[:2], np.uint8))
print("painted:", out["defect_synth"]["defect"], "on", int(out["mask"].sum()), "pixels")

# 4. Every pixel outside of the mask is the one you gave.
outside = out["mask"] == 0
assert np.array_equal(out["image"][outside], image[outside])

Image.fromarray(out["image"]).save("painted.png")
Image.fromarray(out["mask"] * np.uint8(255)).save("painted_mask.png")

# 5. The same painter as a dataset, on the normal images in its file. Item i depends on the seed and i alone.
dataset = DefectSynthDataset("demo", length=8, seed=0)
for item in dataset:
    print(item["defect"], tuple(item["image"].shape), f"{float(item['mask'].float().mean()):.2%} of the pixels")

print("look at", Path("painted.png").resolve())
