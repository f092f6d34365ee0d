"""Show what a source does to images, on a contact sheet and a self-contained page: seeds across, severities down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.augment import DefectAugmenter
from defect_synth.augment.image_files import read_image_to_paint, read_region
from defect_synth.augment.web_page import data_url, rendered
from defect_synth.compositor.pixels import to_rgb
from defect_synth.data.png import encode_png
from defect_synth.errors import DataError
from defect_synth.open import open_painter
from defect_synth.samples import DefectSample, Pixels

SEVERITIES = (0.5, 1.0, 1.5)
_TILE = 224  # longer side of a picture on the contact sheet
_OUTLINE = (230, 40, 40)


@dataclass(frozen=True)
class _Figure:
    """A picture of the page: a data URL, the same with the mask's outline or None, and a caption."""

    plain: str
    outlined: str | None
    caption: str


def outlined(sample: DefectSample) -> Pixels:
    """The image of a sample with the outline of the mask in red, uint8 [H, W, 3]."""
    out = sample.image.copy()
    width = max(1, max(out.shape[:2]) // 400)
    edge = cv2.dilate(sample.mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) - sample.mask
    out[edge > 0] = _OUTLINE
    return out


def preview(
    images: Sequence[Path],
    source: Any,
    output: Path,
    *,
    defects: Sequence[str] | None = None,
    seeds: int = 4,
    severities: Sequence[float] = SEVERITIES,
    region: Path | None = None,
    region_of: Path | None = None,
) -> list[Path]:
    """Write `preview.png` and `preview.html` into a folder.

    Args:
        images: Image files of normal products.
        source: What `DefectAugmenter` accepts.
        output: The folder. It is created if needed.
        defects: Defect categories; None: all of the source.
        seeds: Number of draws for each image and severity.
        severities: One row for each.
        region: Mask file of where defects may be; None: anywhere.
        region_of: The normal image that it was drawn on; None: the first of `images`, and it follows no part.

    Returns:
        The paths of the two files.

    Raises:
        DataError: There are no images, or one cannot be read.
        ConfigError: `region_of` without a region, or the source does not know how parts lie.
        OutputError: `output` cannot be written.
    """
    if not images:
        raise DataError("no image to preview; give at least one")
    pictures = [to_rgb(read_image_to_paint(path)) for path in images]  # all of them before anything slow
    drawn, reference = read_region(region, region_of, images[0], pictures[0].shape[:2])
    opened = open_painter(source)
    augmenters = [
        DefectAugmenter(opened, defects=defects, severity=severity, region=drawn, region_of=reference)
        for severity in severities
    ]
    sheet_rows: list[Pixels] = []
    sections: list[dict[str, Any]] = []
    for path, image in zip(images, pictures, strict=True):
        rows = []
        for severity, augmenter in zip(severities, augmenters, strict=True):
            samples = [augmenter(image, np.random.default_rng([seed, 1])) for seed in range(seeds)]
            sheet_rows.append(np.concatenate([_tile(image), *(_tile(outlined(sample)) for sample in samples)], axis=1))
            figures = [_Figure(data_url(image), None, "given")]
            figures += [
                _Figure(data_url(sample.image), data_url(outlined(sample)), f"seed {seed}: {sample.defect}")
                for seed, sample in enumerate(samples)
            ]
            rows.append({"severity": f"{severity:g}", "figures": figures})
        sections.append({"name": path.name, "rows": rows})
    text = rendered("preview.html", sections=sections)
    sheet, page = output / "preview.png", output / "preview.html"
    with replacing(sheet) as sheet_file, replacing(page) as page_file:  # both files or none
        sheet_file.write_bytes(encode_png(np.concatenate(sheet_rows)))
        page_file.write_text(text, encoding="utf-8")
    return [sheet, page]


def _tile(image: Pixels) -> Pixels:
    """The image reduced to fit a square tile with a white border."""
    scale = _TILE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    out = np.full((_TILE + 4, _TILE + 4, 3), 255, np.uint8)
    out[2 : 2 + size[1], 2 : 2 + size[0]] = small
    return out
