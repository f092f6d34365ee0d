"""Whatever the user names -> something that makes labelled defect images: the one door for all kinds of runs and files.

`sources.py` is the other door: to paint on given images, where a bank or a painter is needed.
"""

from __future__ import annotations

from pathlib import Path

from defect_synth.data.generated import INDEX_NAME, FolderSource
from defect_synth.errors import ConfigError, DataError
from defect_synth.samples import DefectSource

DEMO = "demo"
DEMO_PAINTER = "demo-painter"
DEMO_DFMGAN = "demo-dfmgan"


def open_run(
    source: str | Path, *, device: str = "auto", truncation_object: float = 1.0, truncation_defect: float = 1.0
) -> DefectSource:
    """Open a generated folder, or a run folder or checkpoint of any method.

    Args:
        source: A path, or what ships with the package: `demo` or `demo-painter` for the painter, `demo-dfmgan` for the
            DFMGANs (`./demo` is a folder of that name).
        device: auto, cpu, cuda, ...; what paints on the CPU or reads files ignores it.
        truncation_object: psi of w_object, of a DFMGAN only; 1: none.
        truncation_defect: psi of w_defect, of a DFMGAN only; 1: none.

    Raises:
        DataError: The path does not exist, or a generated folder is damaged.
        CheckpointError: A run folder or checkpoint that cannot be used.
        ConfigError: Truncation of what has none.
    """
    truncated = truncation_object != 1 or truncation_defect != 1
    found = _without_truncation(source, device)
    if found is None:
        from defect_synth.dfmgan.synthesizer import DefectSynthesizer

        return DefectSynthesizer.load(
            source,
            device=device,
            truncation_object=truncation_object,
            truncation_defect=truncation_defect,
        )
    if truncated:
        raise ConfigError(f"truncation is of a DFMGAN's w_object and w_defect, and {source} holds none; leave it out")
    return found


def _without_truncation(source: str | Path, device: str) -> DefectSource | None:
    """Anything but a DFMGAN; None: it must be one."""
    from defect_synth.painter import Painter

    if source in (DEMO, DEMO_PAINTER):
        return Painter.load(DEMO)
    if source == DEMO_DFMGAN:
        return None
    path = Path(source)
    if not path.exists():
        raise DataError(
            f"no such source: {path}; expected 'demo', 'demo-dfmgan', a run folder, a checkpoint or a generated folder"
        )
    if path.is_dir() and ((path / INDEX_NAME).is_file() or any(path.glob(f"*/{INDEX_NAME}"))):
        return FolderSource(path)
    painter = painter_file(path)
    if painter is not None:
        return Painter.load(painter)
    if path.is_dir():
        from defect_synth.baselines.fitting import is_system, open_system
        from defect_synth.dfmgan.synthesizer import choose_device

        if is_system(path):
            return open_system(path, device=choose_device(device))
    return None


def painter_file(path: Path) -> Path | None:
    """The painter's checkpoint that `path` is, or that the run folder `path` holds; None: neither."""
    from defect_synth.painter.checkpoint import is_painter

    candidates = (path / "painter" / "model.safetensors", path / "model.safetensors") if path.is_dir() else (path,)
    return next((file for file in candidates if file.is_file() and is_painter(file)), None)
