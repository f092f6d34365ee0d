"""Train DFMGAN on the embedded product at 32 pixels and draw defect images from noise.

    python docs/tutorials/dfmgan_in_miniature.py

The preset TINY and a few iterations show every step of the paper in seconds; what they draw is noise. FAST_64 needs
hours of a CPU, PAPER_256 hours to days of a GPU.
"""

from pathlib import Path

from defect_synth import DefectSynthesizer
from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.train import train_dfmgan
from defect_synth.export.generated_folder import generate

# 1. Data, as in the tutorial of the painter.
table = index(write_demo(Path("data"), resolution=64, good=12, test_good=2, per_defect=4))
partition = everything(table, validation_fraction=0.0, seed=0)

# 2. Settings are a frozen tree; `override` changes single ones by their dotted names, as `--set` does.
config = override(TINY, {"pretrain.total_kimg": 0.032, "transfer.total_kimg": 0.016})

# 3. Stage 1 learns to draw normal objects from z_object. Stage 2 freezes that network and, for each defect, learns
#    residual features from z_defect, which are added inside a mask that the network draws itself (Eq. 1 of the paper).
ended = train_dfmgan(table, partition, config, Path("runs/hazelnut-gan"), defects=["crack"])
for stage, how in ended.items():
    print(f"{stage}: {how.iterations} iterations in {how.seconds:.0f} s")

# 4. Samples. Each has the same object without the defect beside it.
synthesizer = DefectSynthesizer.load("runs/hazelnut-gan", redraw=0)  # redraw=0: keep empty masks, frequent so early
for sample in synthesizer.sample("crack", seeds=range(3)):
    assert sample.clean is not None
    print(sample.defect, sample.image.shape, f"{sample.mask.mean():.2%} of the pixels")

# 5. A folder in MVTec AD's layout with the provenance of every image.
folder = generate(synthesizer, Path("synthetic"), count=4)
print("look at", folder / "contact_sheet.png")
