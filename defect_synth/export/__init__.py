"""Write defect samples in formats that other tools read: one module for each format.

Every writer takes (folder, samples, the source's defects) and numbers the samples in their order. It writes the folder
completely or not at all, and the same samples always give the same bytes. One sample is one instance, and a defect has
one number in all formats, see `labels.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from defect_synth.errors import ConfigError
from defect_synth.export.coco import write_coco
from defect_synth.export.labelme import write_labelme
from defect_synth.export.mvtec import write_mvtec
from defect_synth.export.webdataset import write_webdataset
from defect_synth.export.yolo import write_yolo
from defect_synth.samples import DefectSample

Writer = Callable[[Path, Iterable[DefectSample], Sequence[str]], int]

FORMATS: dict[str, Writer] = {
    "mvtec": write_mvtec,
    "coco": write_coco,
    "yolo-seg": write_yolo,
    "labelme": write_labelme,
    "webdataset": write_webdataset,
}


def export(folder: Path, samples: Iterable[DefectSample], form: str, defects: Sequence[str] | None = None) -> int:
    """Write samples into a new folder in one of `FORMATS`.

    Args:
        folder: The folder.
        samples: What to write.
        form: One of `FORMATS`.
        defects: All defects of the source, from which their numbers follow; None: those of the samples, which are then
            all in memory at once.

    Returns:
        The number of samples.

    Raises:
        ConfigError: The format is unknown.
        DataError: A defect is called "good".
        OutputError: `folder` already holds something, or cannot be written.
    """
    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    if defects is None:
        samples = list(samples)
        defects = [sample.defect for sample in samples]
    return FORMATS[form](folder, samples, defects)
