"""The page of `defect-synth check --page`: parts in their common frame, with real defects and proposed masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.augment.part_pictures import (
    GAP,
    PAGE_WIDTH,
    PROPOSED,
    REAL,
    PartPictures,
    PlacedMask,
    propose_masks,
)
from defect_synth.augment.web_page import data_url, rendered
from defect_synth.data.png import encode_png
from defect_synth.names import printable
from defect_synth.product.arrangement_check import ArrangementCheck, CheckedPart
from defect_synth.samples import Pixels

_NORMALS, _EXAMPLES = 24, 8  # parts shown of all good ones, and of each defect
_DOUBTFUL = 8, 4  # of them, doubtful ones at most
_MOST_DEFECTS = 40  # on the page
_LINE = 30  # height of a title on the sheet, in pixels
_TALLEST = 1.4  # height of a picture on the sheet over its width
_TEXT, _DOUBT, _WHITE = (40, 40, 40), (210, 0, 0), (255, 255, 255)


class _Picture(NamedTuple):
    """A picture, the same without a mask or None, what it shows, and why that is doubtful."""

    pixels: Pixels
    plain: Pixels | None
    caption: str
    doubt: str = ""


class _Column(NamedTuple):
    """The real or the proposed masks of a defect: how many, all on the mean part, and some parts."""

    number: int
    panel: _Picture
    tiles: list[_Picture]


class _Section(NamedTuple):
    """What is shown of one defect."""

    defect: str
    real: _Column
    proposed: _Column


def write_check_page(check: ArrangementCheck, output: Path) -> list[Path]:
    """Write `check.html` and `check.png` into a folder.

    Args:
        check: What was found, with `for_page`.
        output: The folder. It is created if needed.

    Returns:
        The paths of the two files.

    Raises:
        OutputError: `output` cannot be written.
    """
    pictures = PartPictures(check)
    mean = _Picture(pictures.mean, None, "mean of the good parts")
    chosen = _choose(check.normals, _NORMALS, _DOUBTFUL[0])
    normals = [_Picture(pictures.tile(part), None, part.name, part.doubt) for part in chosen]
    proposals = propose_masks(check)
    shown = list(proposals)[:_MOST_DEFECTS]
    sections = [_section(pictures, defect, check.defects[defect], proposals[defect]) for defect in shown]
    text = _html(check, mean, normals, sections, pictures.columns, len(proposals) - len(shown))
    image = _sheet(check.category, mean, normals, sections, pictures.columns)
    page, sheet = output / "check.html", output / "check.png"
    with replacing(sheet, "--page") as sheet_file, replacing(page, "--page") as page_file:  # both files or none
        sheet_file.write_bytes(encode_png(image))
        page_file.write_text(text, encoding="utf-8")
    return [page, sheet]


def _choose(parts: Sequence[CheckedPart], count: int, most_doubtful: int) -> list[CheckedPart]:
    """Some parts, spread over all; doubtful ones last."""
    doubtful = [part for part in parts if part.doubt][:most_doubtful]
    certain = [part for part in parts if not part.doubt]
    few = min(count - len(doubtful), len(certain))
    return [certain[i] for i in np.unique(np.linspace(0, len(certain) - 1, few).astype(int))] + doubtful


def _section(
    pictures: PartPictures, defect: str, real: Sequence[CheckedPart], proposed: Sequence[tuple[CheckedPart, Pixels]]
) -> _Section:
    certain = [part for part in real if not part.doubt] or list(real)
    on_mean = pictures.on_mean([PlacedMask(part.seen.mask, part.part.pose) for part in certain], REAL)
    new_on_mean = pictures.on_mean([PlacedMask(mask, part.part.pose) for part, mask in proposed], PROPOSED)
    tiles = [
        _Picture(
            pictures.tile(part, part.seen.mask, REAL), pictures.tile(part),
            part.name + ("" if pictures.shows(part, part.seen.mask) else " (its mask lies outside of the picture)"),
            part.doubt,
        )
        for part in _choose(real, _EXAMPLES, _DOUBTFUL[1])
    ]  # fmt: skip
    new_tiles = [_Picture(pictures.tile(part, mask, PROPOSED), None, part.name) for part, mask in proposed[:_EXAMPLES]]
    return _Section(
        defect,
        _Column(len(certain), _Picture(on_mean, None, f"{defect}, real"), tiles),
        _Column(len(proposed), _Picture(new_on_mean, None, f"{defect}, proposed"), new_tiles),
    )


def _html(
    check: ArrangementCheck,
    mean: _Picture,
    normals: Sequence[_Picture],
    sections: Sequence[_Section],
    columns: int,
    not_shown: int,
) -> str:
    def figures(pictures: Sequence[_Picture]) -> list[dict[str, str]]:
        return [
            {
                "picture": data_url(p.pixels), "caption": printable(p.caption), "doubt": p.doubt,
                "plain": "" if p.plain is None else data_url(p.plain),
            }
            for p in pictures
        ]  # fmt: skip

    posed = check.arrangement.poses is not None
    if posed:
        about = (
            "Each part is turned into the common frame: all of them should lie the same way here, the doubtful last."
        )
    elif check.is_placed:
        about = "The parts as they lie: all of them should lie the same way, the doubtful last."
    else:
        about = "The images as they are: their poses mean nothing, so nothing is turned or moved."
    advice = (
        "Does anything here lie wrongly? Say how parts lie with --pose aligned (all alike), any (each in a pose of its "
        "own) or none (poses mean nothing), to `defect-synth check` and to `defect-synth train`. On the mean part, "
        "outlines are masks as they are, and the colour is where a part that looks alike after a turn or a reflection "
        "could have them. Point at a picture to hide its outline; click it to enlarge it."
    )
    about_panels = "on the mean part" if check.is_placed else "on the mean image: places mean little here"

    def column(kind: str, shown: _Column) -> dict[str, Any]:
        return {"kind": kind, "count": shown.number, "panel": figures([shown.panel]), "tiles": figures(shown.tiles)}

    return rendered(
        "check_page.html", category=check.category, summary=[printable(line) for line in check.format().split("\n")],
        advice=advice,
        about_normals=about, mean=figures([mean]), normals=figures(normals), real=REAL, proposed=PROPOSED,
        about_panels=about_panels, width=PAGE_WIDTH, gap=GAP, columns=columns, not_shown=not_shown,
        sections=[
            {"defect": printable(s.defect), "columns": [column("real", s.real), column("proposed", s.proposed)]}
            for s in sections
        ],
    )  # fmt: skip


def _sheet(
    category: str, mean: _Picture, normals: Sequence[_Picture], sections: Sequence[_Section], columns: int
) -> Pixels:
    """Everything on the page as one picture, [H, 1480, 3]."""
    half = PAGE_WIDTH // 2
    panels = 1 if columns < 8 else 2  # beside each other in half of the width
    rows = [_title(f"{category}: good parts, their mean first", PAGE_WIDTH)]
    rows += [_grid([mean], panels, half, PAGE_WIDTH), _grid(normals, columns, PAGE_WIDTH)]
    for section in sections:
        sides = []
        for kind, column in (("real", section.real), ("proposed", section.proposed)):
            title = _title(f"{section.defect}: {column.number} {kind}", half)
            sides.append(
                np.concatenate([title, _grid([column.panel], panels, half), _grid(column.tiles, columns // 2, half)])
            )
        height = max(side.shape[0] for side in sides)
        rows.append(np.concatenate([_padded(side, height, half) for side in sides], axis=1))
    return np.concatenate(rows)


def _title(text: str, width: int) -> Pixels:
    out = np.full((_LINE + GAP, width, 3), 255, np.uint8)
    shown = text.encode("ascii", "replace").decode()
    cv2.putText(out, shown, (GAP, _LINE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.7, _TEXT, 1, cv2.LINE_AA)
    return out


def _grid(pictures: Sequence[_Picture], columns: int, width: int, padded: int | None = None) -> Pixels:
    """Pictures in rows of `columns` that are `width` pixels wide; doubtful ones have a red frame.

    Args:
        pictures: Reduced to fit.
        columns: Pictures in a row.
        width: Of a full row.
        padded: Of the result; None: `width`.
    """
    cell, edge = width // columns - GAP, GAP // 2 - 1
    tiles = []
    for picture in pictures:
        height, across = picture.pixels.shape[:2]
        scale = min(cell / across, _TALLEST * cell / height)
        size = max(1, round(across * scale)), max(1, round(height * scale))
        small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
        frame = _DOUBT if picture.doubt else _WHITE
        framed = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=frame)
        tiles.append(cv2.copyMakeBorder(framed, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=_WHITE))
    rows = []
    for first in range(0, len(tiles), columns):
        row = tiles[first : first + columns]
        height = max(tile.shape[0] for tile in row)
        strip = np.concatenate([_padded(tile, height, cell + GAP) for tile in row], axis=1)
        rows.append(_padded(strip, height, padded or width))
    return np.concatenate(rows)


def _padded(picture: Pixels, height: int, width: int) -> Pixels:
    """A picture with white below it and to its right."""
    below, right = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=255)
