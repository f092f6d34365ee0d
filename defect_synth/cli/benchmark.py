"""`benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import Device, Preset, Set, configure, log_to_terminal


def benchmark(
    category: Annotated[str, typer.Option(help="Object category.")] = "hazelnut",
    data: Annotated[
        Path | None, typer.Option(help="Real images; default: the embedded procedural hazelnut, rendered on the spot.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run folder trained with --partition; default: train one per partition.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where data, generators and results go.")] = Path(
        "runs/benchmark"
    ),
    partitions: Annotated[str, typer.Option(help="Comma-separated.")] = "P1",
    minutes: Annotated[float, typer.Option(help="Training budget of each partition's generator.")] = 2.5,
    preset: Preset = "FAST_64",
    steps: Annotated[int, typer.Option(help="Optimiser steps of the classifier, the same for every arm.")] = 80,
    count: Annotated[int, typer.Option(help="Synthetic images of each defect.")] = 60,
    seeds: Annotated[int, typer.Option(help="Training seeds of the classifier.")] = 1,
    architecture: Annotated[str, typer.Option(help="Classifier, any timm model.")] = "resnet34",
    weights: Annotated[Path | None, typer.Option(help="ImageNet weights for the classifier; default: none.")] = None,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Train a ResNet-34 on real defects alone and with synthetic ones, and compare on untouched images."""
    from defect_synth.benchmark.run import BenchmarkPlan, run_benchmark
    from defect_synth.cli.progress import bar
    from defect_synth.config import validated

    log_to_terminal()
    plan = validated(
        BenchmarkPlan,
        {"category": category, "data": data, "run": run, "output": output,
         "partitions": tuple(name.strip() for name in partitions.split(",")), "minutes": minutes, "steps": steps,
         "count": count, "seeds": seeds, "architecture": architecture, "weights": weights, "device": device},
    )  # fmt: skip
    config = configure(preset, None, settings, device=device)
    with bar("benchmark") as update:
        table, files = run_benchmark(plan, config, lambda text, done, total: update(done, total, text))
    print(table)
    print("\n".join(str(file) for file in files))
