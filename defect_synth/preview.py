"""What a source does to an image, as a sheet and as one self-contained page: seeds across, severities down."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.augmenter import DefectAugmenter
from defect_synth.errors import DataError
from defect_synth.samples import DefectSample, Pixels
from defect_synth.sources import open_source

SEVERITIES = (0.5, 1.0, 1.5)
_TILE = 224
_EDGE = (230, 40, 40)


def read_rgb(path: Path) -> Pixels:
    """An image file as uint8 [H, W, 3].

    Raises:
        DataError: No file, or none that can be read.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the path of an image")
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f"{path} cannot be read as an image; give a PNG, JPEG, BMP or TIFF")
    return np.ascontiguousarray(pixels[:, :, ::-1])


def outlined(sample: DefectSample) -> Pixels:
    """The image with the mask's outline in red."""
    out = sample.image.copy()
    width = max(1, max(out.shape[:2]) // 400)
    edge = cv2.dilate(sample.mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) - sample.mask
    out[edge > 0] = _EDGE
    return out


def preview(
    images: Sequence[Path],
    source: Any,
    output: Path,
    *,
    defects: Sequence[str] | None = None,
    seeds: int = 4,
    severities: Sequence[float] = SEVERITIES,
) -> list[Path]:
    """Write `preview.png` and `preview.html` into `output`.

    Raises:
        DataError: An image that cannot be read, or none.
        OutputError: `output` cannot be written.
    """
    if not images:
        raise DataError("no image to preview; give at least one")
    opened = open_source(source)
    augmenters = [DefectAugmenter(opened, defects=defects, severity=severity) for severity in severities]
    rows: list[Pixels] = []
    body: list[str] = []
    for path in images:
        image = read_rgb(path)
        body.append(f"<h2>{html.escape(path.name)}</h2>")
        for severity, augmenter in zip(severities, augmenters, strict=True):
            samples = [augmenter(image, np.random.default_rng([seed, 1])) for seed in range(seeds)]
            rows.append(np.concatenate([_tile(image), *(_tile(outlined(sample)) for sample in samples)], axis=1))
            body.append(f"<h3>severity {severity:g}</h3><div class=row>{_figure(image, 'given')}")
            body += [_figure(s.image, f"seed {k}: {s.defect}", outlined(s)) for k, s in enumerate(samples)]
            body.append("</div>")
    sheet, page = output / "preview.png", output / "preview.html"
    with replacing(sheet) as temporary:
        temporary.write_bytes(_png(np.concatenate(rows)))
    with replacing(page) as temporary:
        temporary.write_text(_PAGE.replace("BODY", "\n".join(body)), encoding="utf-8")
    return [sheet, page]


def _tile(image: Pixels) -> Pixels:
    scale = _TILE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    out = np.full((_TILE + 4, _TILE + 4, 3), 255, np.uint8)
    out[2 : 2 + size[1], 2 : 2 + size[0]] = small
    return out


def _png(image: Pixels) -> bytes:
    return bytes(cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes())


def _figure(image: Pixels, caption: str, over: Pixels | None = None) -> str:
    def tag(shown: Pixels, name: str) -> str:
        data = base64.b64encode(_png(shown)).decode()
        return f'<img class="{name}" alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'

    both = tag(image, "plain") + (tag(over, "over") if over is not None else "")
    return f"<figure tabindex=0>{both}<figcaption>{html.escape(caption)}</figcaption></figure>"


_PAGE = """<!doctype html>
<html lang=en><head><meta charset=utf-8><title>defect-synth preview</title>
<meta name=viewport content="width=device-width, initial-scale=1"><link rel=icon href="data:,">
<style>
:root { color-scheme: light dark; font: 15px system-ui, sans-serif; }
body { margin: 1.5rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; }
figure { margin: 0; width: 240px; position: relative; }
img { width: 100%; display: block; border-radius: 4px; }
.over { display: none; }
figure:hover .over, figure:focus .over { display: block; position: absolute; top: 0; left: 0; }
figcaption { font-size: .8rem; opacity: .8; }
h3 { margin: .8rem 0 .3rem; font-weight: 500; }
</style></head><body>
<h1>Defects painted on your images</h1><p>Point at a picture to see its mask's outline.</p>
BODY
</body></html>
"""
