"""`benchmark`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defect_synth.cli.settings import MOST_MINUTES, Device, split_names
from defect_synth.cli.terminal import log_to_terminal, say

if TYPE_CHECKING:
    from defect_synth.benchmark import BenchmarkResults

Category = Annotated[str, typer.Option(help="Object category; several: comma-separated.")]
Data = Annotated[Path | None, typer.Option(help="Real images; default: the embedded procedural hazelnut.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for images, generators, measurements and the report.")
]
ProtocolName = Annotated[
    str, typer.Option(help="quick (minutes), full (hours), paper (as in the paper), or a .toml file.")
]
Arms = Annotated[str | None, typer.Option(help="Comma-separated names, or all; an unknown name lists them.")]
Partitions = Annotated[str | None, typer.Option(help="Comma-separated: P1, P2, P3, R1, R2, ... (random).")]
Seeds = Annotated[int | None, typer.Option(min=1, max=100, help="Number of training seeds of each classifier.")]
Shots = Annotated[str | None, typer.Option(help="Base images of each defect: 1, 5, ... or all.")]
Ratios = Annotated[str | None, typer.Option(help="Generated images per real one in a batch; several: comma-separated.")]
Train = Annotated[
    bool, typer.Option("--train", help="Train generators inside each partition, even where one is shipped.")
]
Run = Annotated[
    Path | None,
    typer.Option(help="Run folder trained with --partition to use; may contain {category} and {partition}."),
]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.0, max=MOST_MINUTES, help="Training time of each system in each partition."),
]
Preset = Annotated[str | None, typer.Option(help="Preset of the generators; its resolution is the classifier's too.")]
Steps = Annotated[int | None, typer.Option(min=1, max=10_000_000, help="Optimiser steps of each classifier.")]
Count = Annotated[int | None, typer.Option(min=1, max=100_000, help="Generated images of each defect.")]
Architecture = Annotated[str | None, typer.Option(help="Classifier, any timm model.")]
Weights = Annotated[Path | None, typer.Option(help="ImageNet weights of the classifier; default: none.")]
Inception = Annotated[
    Path | None, typer.Option(help="pt_inception-2015-12-05-6726825d.pth, with which the distance of Table 1 is KID.")
]
LpipsAlexNet = Annotated[Path | None, typer.Option(help="AlexNet weights, for LPIPS in Table 1.")]
LpipsLinear = Annotated[Path | None, typer.Option(help="Linear weights of LPIPS v0.1, alex.pth.")]
Features = Annotated[
    Path | None,
    typer.Option(help="EfficientNet-Lite0 weights, for a linear probe and as the stand-in for Inception."),
]
Textures = Annotated[
    Path | None, typer.Option(help="Texture images for Perlin defects, such as DTD; default: procedural ones.")
]
WithGood = Annotated[bool, typer.Option("--with-good", help="Make good images a class of their own.")]
OnlyClassify = Annotated[
    bool, typer.Option("--only-classify", help="Leave out segmentation, anomaly thresholds and Table 1.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue; what is measured already is not measured again.")]
ReportOnly = Annotated[
    bool, typer.Option("--report-only", help="Write the report of the results in --output again and print its tables.")
]


def benchmark(
    ctx: typer.Context,
    category: Category = "hazelnut",
    data: Data = None,
    output: Output = Path("runs/benchmark"),
    protocol: ProtocolName = "quick",
    arms: Arms = None,
    partitions: Partitions = None,
    seeds: Seeds = None,
    shots: Shots = None,
    ratios: Ratios = None,
    train: Train = False,
    run: Run = None,
    minutes: Minutes = None,
    preset: Preset = None,
    steps: Steps = None,
    count: Count = None,
    architecture: Architecture = None,
    weights: Weights = None,
    inception: Inception = None,
    lpips_alexnet: LpipsAlexNet = None,
    lpips_lin: LpipsLinear = None,
    features: Features = None,
    textures: Textures = None,
    with_good: WithGood = False,
    only_classify: OnlyClassify = False,
    resume: Resume = False,
    report_only: ReportOnly = False,
    device: Device = "auto",
) -> None:
    """Does synthetic data help? Real defects alone against every way to add generated ones, on unseen real images."""
    given = _given(ctx)
    if report_only:
        _refuse(given - {"output", "report_only"}, "--report-only measures nothing, so it cannot use")
        _report(output)
        return
    if only_classify:
        table_1 = {"inception", "lpips_alexnet", "lpips_lin"}
        _refuse(given & table_1, "--only-classify leaves out Table 1, so it cannot use")
    changes: dict[str, Any] = {
        "arms": split_names(arms), "partitions": split_names(partitions), "seeds": seeds, "shots": _shots(shots),
        "ratios": split_names(ratios), "minutes": minutes, "painter_minutes": minutes, "preset": preset,
        "classifier.steps": steps, "per_defect": count, "classifier.architecture": architecture,
        "classifier.weights": weights, "with_good": with_good or None, "textures": textures,
        "quality.inception": inception, "quality.lpips_alexnet": lpips_alexnet, "quality.lpips_linear": lpips_lin,
        "quality.features": features, "probe.features": features,
    }  # fmt: skip
    changes = {name: value for name, value in changes.items() if value is not None}
    if only_classify:
        changes.pop("quality.features", None)
        changes |= {"segmentation": None, "threshold": None, "quality": None}
    _measure(
        protocol, changes,
        {"categories": split_names(category), "data": data, "run": run, "output": output, "train": train,
         "resume": resume, "device": device},
    )  # fmt: skip


def _given(ctx: typer.Context) -> set[str]:
    """Names of the options on the command line."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _refuse(options: set[str], why: str) -> None:
    from defect_synth.errors import ConfigError

    if options:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(options))
        raise ConfigError(f"{why} {names}; leave one of them out")


def _measure(protocol: str, changes: dict[str, Any], request: dict[str, Any]) -> None:
    from defect_synth.benchmark import BenchmarkRequest, load_protocol, run_benchmark
    from defect_synth.cli.progress import bar
    from defect_synth.config import validated

    log_to_terminal(logging.INFO)
    chosen, checked = load_protocol(protocol, changes), validated(BenchmarkRequest, request)
    with bar("benchmark") as update:
        results = run_benchmark(checked, chosen, lambda text, done, total: update(done, total, text))
    _show(results, checked.output)


def _report(output: Path) -> None:
    from defect_synth.benchmark.report.report import rewrite_report

    _show(rewrite_report(output), output)


def _show(results: BenchmarkResults, output: Path) -> None:
    from defect_synth.benchmark.report.report import FILES
    from defect_synth.benchmark.report.tables import headline
    from defect_synth.benchmark.report.terminal import print_table, report_console
    from defect_synth.benchmark.tables.paper_tables import paper_tables

    console = report_console()
    for product in results.products:
        say(f"{product.category} ({product.about})")
        say(*(f"  {line}" for line in headline(results, product.category)))
        for table in paper_tables(results, product.category):
            say("")
            print_table(table, console)
    say(*(output / name for name in FILES))


def _shots(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else text
