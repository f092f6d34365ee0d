"""Write defect samples in formats that other tools read: one module for each format.

Every writer takes (folder, samples) and numbers the samples in their order. It writes the folder completely or not at
all, and the same samples always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from defect_synth.errors import ConfigError
from defect_synth.export.coco import write_coco
from defect_synth.export.labelme import write_labelme
from defect_synth.export.mvtec import write_mvtec
from defect_synth.export.webdataset import write_webdataset
from defect_synth.export.yolo import write_yolo
from defect_synth.samples import DefectSample

Writer = Callable[[Path, Iterable[DefectSample]], int]

FORMATS: dict[str, Writer] = {
    "mvtec": write_mvtec,
    "coco": write_coco,
    "yolo-seg": write_yolo,
    "labelme": write_labelme,
    "webdataset": write_webdataset,
}


def export(folder: Path, samples: Iterable[DefectSample], form: str) -> int:
    """Write samples into a new folder in one of `FORMATS`.

    Returns:
        The number of samples.

    Raises:
        ConfigError: The format is unknown.
        OutputError: `folder` already holds something, or cannot be written.
    """
    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    return FORMATS[form](folder, samples)
