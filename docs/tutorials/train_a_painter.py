"""Train a painter on the embedded product and paint with it.

    python docs/tutorials/train_a_painter.py

The preset PAINT_TINY trains in seconds and its paintings look like it. Use PAINT_128 for your own data: about ten
minutes on two cores.
"""

from pathlib import Path

import numpy as np

from defect_synth import DefectAugmenter, Painter
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.train import train_painter

# 1. Data: good images, and a few images with masks of each defect. Your own folder is read by `index` in the same way.
folder = write_demo(Path("data"), resolution=64, good=12, test_good=2, per_defect=4)
table = index(folder)
print(table.category, {defect: len(table.of(defect)) for defect in table.defects})

# 2. Which images may be learnt from: here all of them. `split(table, "P1", 0)` would keep two thirds for testing.
partition = everything(table, validation_fraction=0.0, seed=0)

# 3. Training: stage 1' reconstructs normal images, stage 2' learns what the defects add to them.
ended = train_painter(table, partition, PAINT_TINY, Path("runs/hazelnut"))
for stage, how in ended.items():
    print(f"{stage}: {how.iterations} iterations in {how.seconds:.0f} s")

# 4. Samples, on the normal images that the painter carries with it ...
painter = Painter.load("runs/hazelnut")
for sample in painter.sample("crack", seeds=range(3)):
    print(sample.defect, sample.image.shape, f"{sample.mask.mean():.2%} of the pixels")

# 5. ... and on an image of your own choice, here the normal image of one of its samples.
normal = painter.sample("hole", seeds=[7])[0].clean
painted = DefectAugmenter(painter).apply(normal, np.random.default_rng(0))
print("painted:", painted.defect, "on", int(painted.mask.sum()), "pixels")
