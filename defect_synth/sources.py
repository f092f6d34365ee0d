"""Whatever the user names -> something to paint from: a bank, or a painter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from defect_synth.bank import INDEX as BANK_INDEX
from defect_synth.bank import Bank, record
from defect_synth.data.demo import DemoSource
from defect_synth.errors import DataError
from defect_synth.folder_source import FolderSource, find_generated_folder
from defect_synth.gates import GateReport, Gates
from defect_synth.runs import open_run
from defect_synth.samples import DefectPainter, DefectSample, DefectSource

DEMO = "demo"
PER_DEFECT = 24  # drawn once from a source that is no bank
_DEMO_SIDE = 128
_DEMO_SEED = 9_000_000  # other nuts than any that `demo-data` writes with small seeds


def open_source(source: str | Path | DefectSource | DefectPainter) -> Bank | DefectPainter:
    """Open what defects are painted from.

    Args:
        source: "demo" (the embedded procedural product; "./demo" is a folder of that name), the path of a bank, a run
            or checkpoint of any method, or a generated folder; or a painter, a bank or any other source as an object.
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
        return _demo() if source == DEMO else _open(Path(source))
    if isinstance(source, DefectSource):
        return _recorded(source)
    raise DataError(
        f"expected 'demo', a path, a painter or a defect source, got {type(source).__name__}; see DefectSource"
    )


def _open(path: Path) -> Bank | DefectPainter:
    if not path.exists():
        raise DataError(f"{path} does not exist; expected 'demo', a bank, a run, a checkpoint or a generated folder")
    if (path / BANK_INDEX).is_file():
        return Bank.open(path)
    if path.is_dir():
        try:
            return _recorded(FolderSource(find_generated_folder(path)))
        except DataError as error:
            if "no provenance.jsonl" not in str(error):
                raise
    opened = open_run(path)
    return opened if isinstance(opened, DefectPainter) else _recorded(opened)


def _recorded(source: DefectSource) -> Bank:
    """A few samples of each defect in memory, those that pass the default gates."""
    kept: list[DefectSample] = []
    gates, report = Gates(), GateReport()
    finite = getattr(source, "seeds", None)
    for defect in source.defects:
        seeds = list(finite(defect))[:500] if callable(finite) else range(PER_DEFECT)
        kept += [sample for sample in source.sample(defect, seeds) if report.add(gates.reject(sample), defect)]
    report.warn()
    if not kept:
        raise DataError(f"no sample of this source can be used ({report.summary()}); look at them, or train longer")
    return record(source.category, kept, str(getattr(source, "digest", "")))


@lru_cache(maxsize=1)
def _demo() -> Bank:
    source = DemoSource(_DEMO_SIDE)
    seeds = range(_DEMO_SEED, _DEMO_SEED + PER_DEFECT)
    return record(source.category, [sample for defect in source.defects for sample in source.sample(defect, seeds)])
