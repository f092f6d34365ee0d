"""`quality`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defect_synth.cli.settings import MOST_SAMPLES, MOST_SEED, SOURCES, Device, split_names
from defect_synth.cli.terminal import say

if TYPE_CHECKING:
    from defect_synth.data.partitions import Partition
    from defect_synth.data.records import Table
    from defect_synth.metrics.clustered_lpips import PerceptualEmbedding
    from defect_synth.metrics.features import FeatureExtractor
    from defect_synth.metrics.quality import RealDefects
    from defect_synth.samples import DefectSource


Count = Annotated[
    int,
    typer.Option(min=2, max=MOST_SAMPLES, help="Generated images of each defect; the paper computes KID from 5000."),
]
LpipsCount = Annotated[
    int, typer.Option(min=2, max=MOST_SAMPLES, help="How many of them clustered LPIPS uses; 1000 in the paper.")
]
PAPER_SIDE = 256  # larger samples are reduced to the side at which the paper measures


def quality(
    source: Annotated[
        str,
        typer.Argument(help=SOURCES),
    ],
    data: Annotated[Path, typer.Option(help="Real images to compare with.")],
    category: Annotated[str | None, typer.Option(help="Category of the real images. Default: that of SOURCE.")] = None,
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all that both have.")] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            help="P1, P2 or P3: the base set counts as training images, the rest as held out. Default: the partition "
            "that the run was trained with."
        ),
    ] = None,
    count: Count = 1000,
    lpips_count: LpipsCount = 1000,
    inception: Annotated[
        Path | None,
        typer.Option(
            help="Weights of the FID Inception network (pt_inception-2015-12-05-6726825d.pth), with which KID is KID."
        ),
    ] = None,
    lpips_alexnet: Annotated[
        Path | None, typer.Option(help="AlexNet weights with torchvision's parameter names.")
    ] = None,
    lpips_lin: Annotated[Path | None, typer.Option(help="Linear weights of LPIPS v0.1 (alex.pth).")] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|TIMM|TIMM=FILE",
            help="A weights file of EfficientNet-Lite0, or a timm model; repeatable. Default: random convolutions.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: quality.json in or beside SOURCE.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Default: quality_cache beside the output.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of subsets and resampling.")] = 0,
    device: Device = "auto",
) -> None:
    """Measure generated defects against real ones: KID, clustered LPIPS, precision, recall, copies, masks."""
    from defect_synth.atomic import replacing
    from defect_synth.cli.progress import bar
    from defect_synth.data.layouts import index
    from defect_synth.metrics.quality import measure_quality
    from defect_synth.names import printable
    from defect_synth.nn.device import choose_device
    from defect_synth.open import path_of

    where = str(choose_device(device))
    opened = _opened(source, device)
    table = index(data, category or opened.category)
    chosen = _defects(opened, table, defects)
    path = path_of(source)
    real = _real(opened, table, chosen, _partition(path, table, partition))
    extractors = _extractors(inception, features or [], where)
    beside = Path() if path is None else path if path.is_dir() else path.parent
    file = output or beside / "quality.json"
    with bar("quality", percent=True) as update:
        found = measure_quality(
            opened, real, extractors, embedding=_embedding(lpips_alexnet, lpips_lin, where), count=count,
            lpips_count=lpips_count, seed=seed, cache=cache or file.parent / "quality_cache",
            name=printable(Path(source).name), device=where,
            progress=lambda text, done, total: update(done, total, text),
        )  # fmt: skip
    table_text = found.table()
    for path, text in (
        (file, json.dumps(found.to_json(), indent=1) + "\n"),
        (file.with_suffix(".md"), table_text),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    say(*table_text.rstrip("\n").split("\n"), "", file)


def _opened(source: str, device: str) -> DefectSource:
    """The source; one that works on the CPU is opened there, since the device is also for measuring."""
    from defect_synth.open import open_source, works_on_cpu

    opened = open_source(source)
    return opened if works_on_cpu(opened) else open_source(source, device=device)


def _defects(source: DefectSource, table: Table, named: str | None) -> list[str]:
    from defect_synth.errors import DataError, UnknownDefectError

    if named is None:
        common = sorted(set(source.defects) & set(table.defects))
        if not common:
            raise DataError(
                f"the source makes {', '.join(source.defects)} and {table.root} has {', '.join(table.defects)}: no "
                "defect in common; check --data and --category"
            )
        return common
    chosen = split_names(named) or []
    for name in chosen:
        for known in (source.defects, table.defects):
            if name not in known:
                raise UnknownDefectError(name, table.category, tuple(known))
    return chosen


def _partition(source: Path | None, table: Table, name: str | None) -> Partition:
    """The named partition, or the one the run was trained with; without either, every real defect counts as seen."""
    from defect_synth.data.partitions import Partition, everything, split
    from defect_synth.engine.run_folder import PARTITION_FILE

    if name is not None:
        return split(table, name, 0.0)
    if source is not None and source.is_dir() and (source / PARTITION_FILE).is_file():
        partition = Partition.load(source / PARTITION_FILE)
        partition.require_match(table)
        return partition
    return everything(table, 0.0, 0)


def _real(source: DefectSource, table: Table, defects: list[str], partition: Partition) -> dict[str, RealDefects]:
    """Real images at the side of the samples; validation images count as seen, since snapshots were chosen by them."""
    from defect_synth.data.store import load
    from defect_synth.metrics.quality import RealDefects
    from defect_synth.samples import FiniteSource, SquareSource

    if isinstance(source, SquareSource):
        side = source.resolution
    else:
        seeds = source.seeds(defects[0]) if isinstance(source, FiniteSource) else (0,)
        side = min(max(source.sample(defects[0], seeds[:1])[0].mask.shape), PAPER_SIDE)
    real = {}
    for defect in defects:
        seen = [r for part in ("base", "validation") for r in partition.records(table, part, defect)]
        unseen = partition.records(table, "test", defect)
        real[defect] = RealDefects(
            training=load(seen, side, "letterbox"), held_out=load(unseen, side, "letterbox") if unseen else None
        )
    return real


def _extractors(inception: Path | None, features: list[str], device: str) -> list[FeatureExtractor]:
    from defect_synth.metrics.efficientnet import EfficientNetLite0
    from defect_synth.metrics.features import RandomFeatures
    from defect_synth.metrics.inception import InceptionFeatures
    from defect_synth.metrics.network_features import timm_features

    found: list[FeatureExtractor] = [] if inception is None else [InceptionFeatures(inception).to(device)]
    for text in features:
        name, _, file = text.partition("=")
        if file:
            found.append(timm_features(name, file).to(device))
        elif "." in Path(text).name and Path(text).suffix in (".pth", ".pt", ".safetensors"):
            found.append(EfficientNetLite0(text).to(device))
        else:
            found.append(timm_features(name).to(device))
    return found or [RandomFeatures()]


def _embedding(alexnet: Path | None, linear: Path | None, device: str) -> PerceptualEmbedding | None:
    from defect_synth.errors import ConfigError
    from defect_synth.metrics.lpips import LPIPS

    if (alexnet is None) != (linear is None):
        missing = "--lpips-lin" if linear is None else "--lpips-alexnet"
        raise ConfigError(f"LPIPS needs both --lpips-alexnet and --lpips-lin; {missing} is missing")
    return None if alexnet is None or linear is None else LPIPS.load(alexnet, linear).to(device)
