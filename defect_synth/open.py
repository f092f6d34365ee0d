"""Open a name or a path as a source of defect samples, or as a painter of given images.

Nothing else in the package decides what a name or a path is.

Names of what ships with the package, the same everywhere: `demo` is the painter, `demo-dfmgan` the DFMGANs and
`demo-bank` a small bank of recorded defects, all of the procedural hazelnut. `./demo` is a folder of that name.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from defect_synth.compositor.bank import INDEX as BANK_INDEX
from defect_synth.compositor.bank import Bank, bank_from_samples
from defect_synth.compositor.quality_check import QualityLimits, RejectionReport
from defect_synth.data.generated import INDEX_NAME, FolderSource
from defect_synth.data.layouts import index
from defect_synth.demo.hazelnut import DemoSource
from defect_synth.demo.models import shipped_dfmgan, shipped_painter
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.samples import DefectPainter, DefectSample, DefectSource, FiniteSource

DEMO = "demo"
DEMO_DFMGAN = "demo-dfmgan"
DEMO_BANK = "demo-bank"
SHIPPED = (DEMO, DEMO_DFMGAN, DEMO_BANK)

_EXPECTED = (
    f"expected {', '.join(SHIPPED)}, a run folder, a checkpoint, a bank or a folder that `defect-synth generate` wrote"
)
_RECORDED_PER_DEFECT = 24  # samples drawn into memory to paint with a source that is neither bank nor painter
_MOST_READ = 500  # samples of each defect read from a finite source for the same purpose
_DEMO_PER_DEFECT = 10  # 25 ms each, in every program that opens `demo-bank`
_DEMO_SIDE = 128
_DEMO_SEED = 9_000_000  # other nuts than any that `demo-data` writes with small seeds


def open_source(
    source: str | Path | DefectSource,
    *,
    device: str = "auto",
    truncation_object: float = 1.0,
    truncation_defect: float = 1.0,
) -> DefectSource:
    """Open whatever makes defect samples.

    Args:
        source: `demo`, `demo-dfmgan` or `demo-bank`; the path of a run folder or checkpoint of any method, of a bank
            or of a generated folder; or a `DefectSource`, which is returned as it is.
        device: Where a DFMGAN or a baseline computes: `auto`, `cpu`, `cuda`, ... Painters, banks and generated folders
            work on the CPU.
        truncation_object: psi for w_object of a DFMGAN; 1: no truncation.
        truncation_defect: psi for w_defect of a DFMGAN; 1: no truncation.

    Raises:
        DataError: Nothing there that can be opened, or a generated folder or bank that is damaged.
        CheckpointError: A run folder or checkpoint that cannot be used.
        ConfigError: Truncation of something other than a DFMGAN, or a device for something that works on the CPU.
    """
    truncated = truncation_object != 1 or truncation_defect != 1
    path = path_of(source)
    opened = _shipped_or_given(source) if path is None else _without_truncation(path, device)
    if opened is not None:
        if device not in ("auto", "cpu") and works_on_cpu(opened):
            raise ConfigError(
                f"{source} is a {kind_of_source(opened)}, which works on the CPU; leave device {device} out"
            )
        if truncated:
            raise ConfigError(
                f"truncation applies to the w_object and w_defect of a DFMGAN, and {source} has none; leave it out"
            )
        return opened
    from defect_synth.dfmgan.synthesizer import DefectSynthesizer

    file = shipped_dfmgan() if path is None else path
    try:
        return DefectSynthesizer.load(
            file, device=device, truncation_object=truncation_object, truncation_defect=truncation_defect
        )
    except CheckpointError:
        _require_no_data(file)
        raise


def open_painter(source: str | Path | DefectSource | DefectPainter) -> Bank | DefectPainter:
    """Open whatever defects are painted or pasted from.

    From a source that is neither a bank nor a painter, a few samples are drawn into memory, and those that pass the
    general quality checks are used as a bank; `defect-synth bank` records more of them, once.

    Args:
        source: What `open_source` takes, or a `DefectPainter`.

    Raises:
        DataError: As `open_source`, or not one sample of the source can be used.
        CheckpointError: As `open_source`.
    """
    if isinstance(source, Bank | DefectPainter):
        return source
    opened = open_source(source)
    return opened if isinstance(opened, Bank | DefectPainter) else _recorded(opened)


def path_of(source: object) -> Path | None:
    """The existing path that `source` is; None: the name of something that ships, or an object.

    Raises:
        DataError: Nothing is at the path.
    """
    if not isinstance(source, str | Path) or source in SHIPPED:
        return None
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path} does not exist; {_EXPECTED}")
    return path


def _shipped_or_given(source: object) -> DefectSource | None:
    """What is no path; None: the DFMGANs that ship."""
    if source == DEMO:
        from defect_synth.painter import Painter

        return Painter.load(shipped_painter())
    if source == DEMO_BANK:
        return _demo_bank()
    if source == DEMO_DFMGAN:
        return None
    if isinstance(source, DefectSource):
        return source
    raise ConfigError(
        f"source must be {', '.join(SHIPPED)}, a path, or an object with category, defects, digest and sample; "
        f"got {type(source).__name__}"
    )


def _without_truncation(path: Path, device: str) -> DefectSource | None:
    """Whatever is no DFMGAN; None: it must be one."""
    if (path / BANK_INDEX).is_file():
        return Bank.open(path)
    if is_generated_folder(path):
        return FolderSource(path)
    from defect_synth.painter.checkpoint import painter_file

    painter = painter_file(path)
    if painter is not None:
        from defect_synth.painter import Painter

        return Painter.load(painter)
    if path.is_dir():
        from defect_synth.baselines.train import is_system, open_system
        from defect_synth.nn.device import choose_device

        if is_system(path):
            return open_system(path, device=choose_device(device))
    return None


def is_generated_folder(path: Path) -> bool:
    """Whether `defect-synth generate` wrote a folder; a bank has an index of the same name, and is none."""
    if not path.is_dir() or (path / BANK_INDEX).is_file():
        return False
    return (path / INDEX_NAME).is_file() or any(path.glob(f"*/{INDEX_NAME}"))


def works_on_cpu(source: DefectSource) -> bool:
    """Whether a source computes on the CPU whatever the device."""
    return isinstance(source, Bank | FolderSource | DefectPainter)


def kind_of_source(source: DefectSource) -> str:
    """What a source is in the user's words, such as `painter` or `bank`."""
    if isinstance(source, Bank):
        return "bank"
    if isinstance(source, FolderSource):
        return "generated folder"
    if isinstance(source, DefectPainter):
        return "painter"
    method = str(vars(type(source)).get("method", vars(source).get("method", "")))
    return {"dfmgan": "DFMGAN"}.get(method, method or "source")


def _require_no_data(path: Path) -> None:
    """Say what to do with a folder of images and masks, which is the most frequent mistake.

    Raises:
        DataError: `path` is such a folder.
    """
    if not path.is_dir():
        return
    try:
        table = index(path)
    except DataError:
        return
    if any(record.mask is not None for record in table.records):
        raise DataError(
            f"{path} is a data folder, not a run; train on it, or make a bank of its defects with "
            f"`defect-synth bank {path} --real -o BANK`"
        )


def _recorded(source: DefectSource) -> Bank:
    """A bank in memory, of a few samples of each defect that pass the general quality checks."""
    usable: list[DefectSample] = []
    limits, report = QualityLimits(), RejectionReport()
    for defect in source.defects:
        seeds = source.seeds(defect)[:_MOST_READ] if isinstance(source, FiniteSource) else range(_RECORDED_PER_DEFECT)
        usable += [sample for sample in source.sample(defect, seeds) if report.add(limits.reject(sample), defect)]
    report.warn()
    if not usable:
        raise DataError(f"no sample of this source can be used ({report.summary()}); look at them, or train longer")
    return bank_from_samples(source.category, usable, source.digest)


@lru_cache(maxsize=1)
def _demo_bank() -> Bank:
    source = DemoSource(_DEMO_SIDE)
    seeds = range(_DEMO_SEED, _DEMO_SEED + _DEMO_PER_DEFECT)
    return bank_from_samples(
        source.category, [sample for defect in source.defects for sample in source.sample(defect, seeds)]
    )
