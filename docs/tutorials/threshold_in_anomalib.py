"""Fit an anomaly detector's threshold without one real defect image.

    python docs/tutorials/threshold_in_anomalib.py

It needs `pip install "defect-synth[anomalib]"`. The backbone is random so that nothing is downloaded; with
`pre_trained=True` it detects far better.
"""

from pathlib import Path

from defect_synth import DefectSynthDataModule  # before anomalib, see docs/anomalib.md
from defect_synth.demo.mvtec_folder import write_demo

# ruff: isort: split
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.models import Padim

if __name__ == "__main__":
    # 1. Data in MVTec AD's layout. Put your own there, or use `Folder`, `Visa`, ... of anomalib.
    write_demo(Path("data"), resolution=64, good=12, test_good=4, per_defect=1)
    base = MVTecAD("data", "hazelnut", train_batch_size=4, eval_batch_size=4, num_workers=0)

    # 2. A third of the normal training images moves to the validation set, with as many painted ones beside them.
    datamodule = DefectSynthDataModule(base, source="demo", split="val", ratio=0.3, folder="painted")

    # 3. anomalib fits the threshold on that validation set and tests on real defects, which nothing has seen.
    model = Padim(backbone="resnet18", layers=["layer1"], n_features=20, pre_trained=False, visualizer=False)
    engine = Engine(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, num_sanity_val_steps=0)
    engine.fit(model, datamodule=datamodule)
    for name, value in engine.test(model, datamodule=datamodule, verbose=False)[0].items():
        print(f"{name}: {value:.3f}")
