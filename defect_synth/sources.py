"""Whatever the user names -> something to paint from: a bank, or a painter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from defect_synth.compositor.bank import INDEX as BANK_INDEX
from defect_synth.compositor.bank import Bank, bank_from_samples
from defect_synth.compositor.quality_check import QualityLimits, RejectionReport
from defect_synth.data.generated import FolderSource, find_generated_folder
from defect_synth.data.layouts import index
from defect_synth.demo.hazelnut import DemoSource
from defect_synth.errors import CheckpointError, DataError
from defect_synth.runs import open_run
from defect_synth.samples import DefectPainter, DefectSample, DefectSource

DEMO = "demo"
DEMO_PAINTER = "demo-painter"
DEMO_DFMGAN = "demo-dfmgan"
PER_DEFECT = 24  # drawn once from a source that is no bank
_DEMO_PER_DEFECT = 10  # 25 ms each, in every program that asks for the demo
_DEMO_SIDE = 128
_DEMO_SEED = 9_000_000  # other nuts than any that `demo-data` writes with small seeds


def open_source(source: str | Path | DefectSource | DefectPainter) -> Bank | DefectPainter:
    """Open what defects are painted from.

    Args:
        source: "demo" (recorded defects of the embedded product, pasted: they shade and stain whatever product they
            are put on; "./demo" is a folder of that name), "demo-painter" (the painter that ships, which has learnt
            hazelnuts and paints what is under their shell on any other product, too), "demo-dfmgan" (defects that the
            DFMGANs that ship have drawn on hazelnuts of their own), the path of a bank, a run or
            checkpoint of any method, or a generated folder; or a painter, a bank or any other source as an object.
            From what is neither bank nor painter a few samples are drawn into memory; `defect-synth bank` makes more,
            once.

    Raises:
        DataError: Nothing of this kind is there.
    """
    if isinstance(source, Bank):
        return source
    if isinstance(source, DefectPainter):
        return source
    if isinstance(source, str | Path):
        if source == DEMO:
            return _demo()
        if source == DEMO_PAINTER:
            return _demo_painter()
        if source == DEMO_DFMGAN:
            return _recorded(open_run(source))
        return _open(Path(source))
    if isinstance(source, DefectSource):
        return _recorded(source)
    raise DataError(
        f"expected 'demo', a path, a painter or a defect source, got {type(source).__name__}; see DefectSource"
    )


def require_no_data(path: Path) -> None:
    """For whoever could not open `path` as a run: most often it is the data itself.

    Raises:
        DataError: `path` is a folder of images and masks.
    """
    if not path.is_dir():
        return
    try:
        table = index(path)
    except DataError:
        return
    if any(record.mask is not None for record in table.records):
        raise DataError(
            f"{path} is a data folder, not a run; make a bank of its defects with `defect-synth bank {path} --real "
            "-o BANK`, or train on it"
        )


def _open(path: Path) -> Bank | DefectPainter:
    if not path.exists():
        raise DataError(
            f"{path} does not exist; expected 'demo', 'demo-painter', 'demo-dfmgan', a bank, a run, a checkpoint or a "
            "generated folder"
        )
    if (path / BANK_INDEX).is_file():
        return Bank.open(path)
    if path.is_dir():
        try:
            return _recorded(FolderSource(find_generated_folder(path)))
        except DataError as error:
            if "no provenance.jsonl" not in str(error):
                raise
    try:
        opened = open_run(path)
    except (CheckpointError, DataError):
        require_no_data(path)
        raise
    return opened if isinstance(opened, DefectPainter) else _recorded(opened)


def _recorded(source: DefectSource) -> Bank:
    """A few samples of each defect in memory, those that pass the quality check."""
    kept: list[DefectSample] = []
    limits, report = QualityLimits(), RejectionReport()
    finite = getattr(source, "seeds", None)
    for defect in source.defects:
        seeds = list(finite(defect))[:500] if callable(finite) else range(PER_DEFECT)
        kept += [sample for sample in source.sample(defect, seeds) if report.add(limits.reject(sample), defect)]
    report.warn()
    if not kept:
        raise DataError(f"no sample of this source can be used ({report.summary()}); look at them, or train longer")
    return bank_from_samples(source.category, kept, str(getattr(source, "digest", "")))


def _demo_painter() -> DefectPainter:
    from defect_synth.painter import Painter

    return Painter.load(DEMO)


@lru_cache(maxsize=1)
def _demo() -> Bank:
    source = DemoSource(_DEMO_SIDE)
    seeds = range(_DEMO_SEED, _DEMO_SEED + _DEMO_PER_DEFECT)
    return bank_from_samples(
        source.category, [sample for defect in source.defects for sample in source.sample(defect, seeds)]
    )
