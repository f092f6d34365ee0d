"""`paint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.preview import SourceOption


def paint(
    image: Annotated[Path, typer.Argument(help="A normal image.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG; the mask goes beside it as *_mask.png.")],
    source: SourceOption = "demo",
    defect: Annotated[str | None, typer.Option(help="Which defect; default: any.")] = None,
    at: Annotated[str | None, typer.Option(help="x,y of the defect's middle in pixels; default: drawn.")] = None,
    severity: Annotated[float, typer.Option(help="0 to 1.5.")] = 1.0,
    scale: Annotated[float, typer.Option(help="0.2 to 4.")] = 1.0,
    mask: Annotated[Path | None, typer.Option(help="Paint exactly here: an image, not black is defect.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another defect.")] = 0,
) -> None:
    """Paint one defect on one image, with its mask."""
    import cv2
    import numpy as np

    from defect_synth.atomic import replacing
    from defect_synth.augment import DefectAugmenter
    from defect_synth.augment.preview import read_image, read_mask
    from defect_synth.errors import ConfigError, DataError

    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output must end in .png, which keeps every value, got {output.name!r}")
    place = None if at is None else _point(at)
    given = read_image(image)
    drawn = None if mask is None else read_mask(mask, image, (given.shape[0], given.shape[1]))
    augmenter = DefectAugmenter(source, defects=None if defect is None else [defect], severity=severity, scale=scale)
    painted = augmenter.apply(given, np.random.default_rng(seed), mask=drawn, at=place)
    if not painted.mask.any() and severity > 0:
        raise DataError(
            f"no defect of this source fits on {image}"
            f"{'' if at is None else f' at {at}'}; try another --seed, --at, --scale or --severity"
        )
    beside = output.with_name(f"{output.stem}_mask.png")
    pixels = painted.image if painted.image.ndim == 2 else painted.image[:, :, ::-1]
    with replacing(output) as image_file, replacing(beside) as mask_file:  # both or none
        for path, values in ((image_file, pixels), (mask_file, painted.mask * np.uint8(255))):
            path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(values))[1].tobytes())
    print(output, beside, sep="\n")


def _point(text: str) -> tuple[float, float]:
    from defect_synth.errors import ConfigError

    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        raise ConfigError(f"--at must be x,y in pixels, such as 120,80; got {text!r}") from None
    return x, y
