"""What a source does to an image, as a sheet and as one self-contained page: seeds across, severities down."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from defect_synth.atomic import replacing
from defect_synth.augment import DefectAugmenter
from defect_synth.compositor.pixels import to_rgb
from defect_synth.data.images import examine_mask
from defect_synth.data.images import read_image as read_rgb
from defect_synth.data.png import encode_png
from defect_synth.data.records import Record
from defect_synth.errors import DataError
from defect_synth.open import open_painter
from defect_synth.samples import DefectSample, Pixels

SEVERITIES = (0.5, 1.0, 1.5)
_TILE = 224
_PAGE_SIDE = 720
_EDGE = (230, 40, 40)


def read_image(path: Path) -> Pixels:
    """An image file to paint on, as uint8 [H, W] where it is grey, [H, W, 3] where it has colours.

    Raises:
        DataError: No file, none that can be read, or one whose pixels are not 8 bits and opaque: these would not be
            the same outside of a defect, either.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of an image in it")
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the path of an image")
    pixels = read_rgb(path)
    with Image.open(path) as header:
        mode, bands = header.mode, header.getbands()
        if mode[0] in "IF":
            raise DataError(f"{path} has more than 8 bits per channel ({mode}); save it with 8 bits")
        if ("A" in bands and int(np.asarray(header.getchannel("A")).min()) < 255) or "transparency" in header.info:
            raise DataError(f"{path} has transparent parts; lay it over its background and drop alpha")
    return np.ascontiguousarray(pixels[..., 0]) if mode in ("1", "L", "LA") else pixels


def read_mask(path: Path, image: Path, shape: tuple[int, int]) -> Pixels:
    """A mask file for `image` of `shape` (H, W), as uint8 [H, W] in {0, 1}, read as the masks of data are.

    Raises:
        DataError: No file, none that can be read, another size, or a photo.
    """
    return examine_mask(Record(image, path, "drawn"), shape).mask


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
    pictures = [to_rgb(read_image(path)) for path in images]  # all, before anything slow
    opened = open_painter(source)
    augmenters = [DefectAugmenter(opened, defects=defects, severity=severity) for severity in severities]
    rows: list[Pixels] = []
    body: list[str] = []
    for path, image in zip(images, pictures, strict=True):
        body.append(f"<h2>{html.escape(path.name)}</h2>")
        for severity, augmenter in zip(severities, augmenters, strict=True):
            samples = [augmenter(image, np.random.default_rng([seed, 1])) for seed in range(seeds)]
            rows.append(np.concatenate([_tile(image), *(_tile(outlined(sample)) for sample in samples)], axis=1))
            body.append(f"<h3>severity {severity:g}</h3><div class=row>{_figure(image, 'given')}")
            body += [_figure(s.image, f"seed {k}: {s.defect}", outlined(s)) for k, s in enumerate(samples)]
            body.append("</div>")
    sheet, page = output / "preview.png", output / "preview.html"
    with replacing(sheet) as sheet_file, replacing(page) as page_file:  # both or none
        sheet_file.write_bytes(encode_png(np.concatenate(rows)))
        page_file.write_text(_PAGE.replace("BODY", "\n".join(body)), encoding="utf-8")
    return [sheet, page]


def _tile(image: Pixels) -> Pixels:
    scale = _TILE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    out = np.full((_TILE + 4, _TILE + 4, 3), 255, np.uint8)
    out[2 : 2 + size[1], 2 : 2 + size[0]] = small
    return out


def _jpeg(image: Pixels) -> bytes:
    """At most `_PAGE_SIDE` pixels a side: a page of a dozen 4k images would be too large to open."""
    scale = min(1.0, _PAGE_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    turned = np.ascontiguousarray(small[:, :, ::-1])
    return bytes(cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _figure(image: Pixels, caption: str, over: Pixels | None = None) -> str:
    def tag(shown: Pixels, name: str) -> str:
        data = base64.b64encode(_jpeg(shown)).decode()
        return f'<img class="{name}" alt="{html.escape(caption)}" src="data:image/jpeg;base64,{data}">'

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
figure.large { width: min(720px, 100%); }
.over { display: none; }
figure:hover .over, figure:focus .over { display: block; position: absolute; top: 0; left: 0; }
figcaption { font-size: .8rem; opacity: .8; }
h3 { margin: .8rem 0 .3rem; font-weight: 500; }
</style></head><body>
<h1>Defects painted on your images</h1>
<p>Point at a picture to see its mask's outline; click it for a larger one.</p>
BODY
<script>
for (const figure of document.querySelectorAll("figure")) {
  figure.addEventListener("click", () => figure.classList.toggle("large"));
}
</script>
</body></html>
"""
