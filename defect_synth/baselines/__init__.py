"""The systems that the paper compares DFMGAN with, one file each."""

SYSTEMS = {
    "finetune": "finetune.Finetune",
    "diffaug": "diffaug.DiffAug",
    "cdc": "cdc.CDC",
    "sdgan": "sdgan.SDGAN",
    "defect-gan": "defect_gan.DefectGAN",
}
"""Method -> module and class of its settings; names alone, so that listing the methods does not import torch."""
