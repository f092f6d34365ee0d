"""The machine and library versions of a benchmark: what can change its figures or its duration."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from defect_synth.benchmark.results import Environment


def describe_environment(device: str) -> Environment:
    """Versions, processor or GPU, and threads; no host name and no path."""
    from defect_synth import __version__

    versions = {"defect-synth": __version__, "python": platform.python_version()}
    for package in ("torch", "timm", "numpy", "opencv-python-headless", "albumentations"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    hardware = torch.cuda.get_device_name(torch.device(device)) if device.startswith("cuda") else _processor()
    return Environment(
        versions=versions,
        device=device,
        hardware=hardware,
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
