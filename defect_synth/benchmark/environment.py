"""The machine and library versions of a benchmark: what can change its figures or its duration."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from defect_synth.benchmark.result_store import ResultStore
from defect_synth.benchmark.results import Environment
from defect_synth.engine.run_folder import warn_of_other_threads


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


def compare_environment(store: ResultStore, output: Path, device: str) -> str | None:
    """Store the environment of a new benchmark; compare that of a continued one.

    Args:
        store: Its finished measurements.
        output: Its folder, for the message.
        device: Where networks are trained.

    Returns:
        A sentence for the report if the number of threads is another one than at the beginning, on which the last bits
        of trained networks depend; None otherwise.

    Raises:
        OutputError: The record cannot be written.
    """
    now, key = describe_environment(device), ("environment",)
    before = store.read(key, "", Environment)
    if before is None:
        store.write(key, "", now)
        return None
    if before.threads == now.threads:
        return None
    warn_of_other_threads(output, before.threads, now.threads)
    return f"Begun with {before.threads} threads and continued with {now.threads}: trainings differ in their last bits."


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
