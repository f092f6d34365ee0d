"""`benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defect_synth.cli.settings import Device, log_to_terminal

if TYPE_CHECKING:
    from defect_synth.benchmark import BenchmarkResults


def benchmark(
    category: Annotated[str, typer.Option(help="Object category; several: comma-separated.")] = "hazelnut",
    data: Annotated[
        Path | None, typer.Option(help="Real images; default: the embedded procedural hazelnut, drawn on the spot.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where images, generators, results and the report go.")
    ] = Path("runs/benchmark"),
    protocol: Annotated[
        str, typer.Option(help="quick (minutes), full (hours), paper (the paper's), or a .toml.")
    ] = "quick",
    arms: Annotated[str | None, typer.Option(help="Comma-separated names, or all; an unknown one lists them.")] = None,
    partitions: Annotated[str | None, typer.Option(help="Comma-separated: P1, P2, P3, R1, R2, ... (random).")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training seeds of each classifier.")] = None,
    shots: Annotated[str | None, typer.Option(help="Base images of each defect: 1, 5, ... or all.")] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Generated images per real one in a batch, comma-separated: a sweep.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train generators inside each partition, even where one is shipped.")
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run folder trained with --partition, instead of training here; may hold {category} and {partition}."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Training time of every system in each partition, the same for all.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of the generators; its resolution is the classifier's too.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each classifier.")] = None,
    count: Annotated[int | None, typer.Option(help="Generated images of each defect.")] = None,
    architecture: Annotated[str | None, typer.Option(help="Classifier, any timm model.")] = None,
    weights: Annotated[Path | None, typer.Option(help="ImageNet weights of the classifier; default: none.")] = None,
    inception: Annotated[
        Path | None, typer.Option(help="pt_inception-2015-12-05-6726825d.pth: makes the figure of Table 1 KID.")
    ] = None,
    lpips_alexnet: Annotated[Path | None, typer.Option(help="AlexNet weights, for LPIPS in Table 1.")] = None,
    lpips_lin: Annotated[Path | None, typer.Option(help="LPIPS v0.1 linear weights, alex.pth.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="EfficientNet-Lite0 weights: for a linear probe, and the stand-in without Inception's."),
    ] = None,
    textures: Annotated[
        Path | None, typer.Option(help="Images for Perlin defects, such as DTD; default: procedural ones.")
    ] = None,
    with_good: Annotated[bool, typer.Option("--with-good", help="Good images are a class of their own.")] = False,
    only_classify: Annotated[
        bool, typer.Option("--only-classify", help="Leave out segmentation, anomaly thresholds and Table 1.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue; finished cells are not measured again.")] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write the report of --output's results again and print its tables.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Does synthetic data help? Real defects alone against every way to add more, on untouched real images."""
    from defect_synth.benchmark import BenchmarkRequest, BenchmarkResults, load_protocol, run_benchmark
    from defect_synth.benchmark.report.report import write_report
    from defect_synth.cli.progress import bar
    from defect_synth.config import validated

    if report_only:
        results = BenchmarkResults.load(output / "results.json")
        write_report(results, output)
        _show(results, output)
        return
    log_to_terminal()
    changes: dict[str, Any] = {
        "arms": _names(arms), "partitions": _names(partitions), "seeds": seeds, "shots": _shots(shots),
        "ratios": _names(ratios), "minutes": minutes, "painter_minutes": minutes, "preset": preset,
        "classifier.steps": steps, "per_defect": count, "classifier.architecture": architecture,
        "classifier.weights": weights, "with_good": with_good or None, "textures": textures,
        "quality.inception": inception, "quality.lpips_alexnet": lpips_alexnet, "quality.lpips_linear": lpips_lin,
        "quality.features": features, "probe.features": features,
    }  # fmt: skip
    changes = {name: value for name, value in changes.items() if value is not None}
    if only_classify:
        changes = {name: value for name, value in changes.items() if not name.startswith("quality.")}
        changes |= {"segmentation": None, "threshold": None, "quality": None}
    chosen = load_protocol(protocol, changes)
    request = validated(
        BenchmarkRequest,
        {"categories": _names(category), "data": data, "run": run, "output": output, "train": train, "resume": resume,
         "device": device},
    )  # fmt: skip
    with bar("benchmark") as update:
        results = run_benchmark(request, chosen, lambda text, done, total: update(done, total, text))
    _show(results, output)


def _show(results: BenchmarkResults, output: Path) -> None:
    from defect_synth.benchmark.report.paper_tables import paper_tables
    from defect_synth.benchmark.report.report import FILES
    from defect_synth.benchmark.report.tables import headline

    for product in results.products:
        print(f"{product.category} ({product.about})")
        print("\n".join(f"  {line}" for line in headline(results, product.category)))
        for grid in paper_tables(results, product.category):
            print(f"\n{grid.text()}")
    print("\n".join(str(output / name) for name in FILES))


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _shots(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdigit() else text
