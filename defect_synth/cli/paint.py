"""`paint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.preview import RegionOfOption, RegionOption, SourceOption
from defect_synth.cli.settings import LAST_SAMPLE
from defect_synth.cli.terminal import say


def paint(
    image: Annotated[Path, typer.Argument(help="A normal image.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG; the mask goes beside it as *_mask.png.")],
    source: SourceOption = "demo",
    defect: Annotated[str | None, typer.Option(help="Which defect; default: any.")] = None,
    at: Annotated[str | None, typer.Option(help="x,y of the defect's middle in pixels; default: drawn.")] = None,
    severity: Annotated[float, typer.Option(min=0.0, max=1.5, help="0 to 1.5.")] = 1.0,
    scale: Annotated[float | None, typer.Option(min=0.2, max=4.0, help="0.2 to 4. Default: 1.")] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Paint exactly here: an image of the same size; every pixel that is not black is defect."),
    ] = None,
    region: RegionOption = None,
    region_of: RegionOfOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LAST_SAMPLE, help="Another seed, another defect.")] = 0,
) -> None:
    """Paint one defect on one image, with its mask."""
    import numpy as np

    from defect_synth.atomic import replacing
    from defect_synth.augment import DefectAugmenter
    from defect_synth.augment.image_files import read_drawn_mask, read_image_to_paint, read_region
    from defect_synth.data.png import encode_png
    from defect_synth.errors import ConfigError, DataError
    from defect_synth.samples import mask_to_pixels

    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output must end in .png, which keeps every value, got {output.name!r}")
    for option, value in (("--at", at), ("--scale", scale), ("--region", region)):
        if mask is not None and value is not None:
            raise ConfigError(f"--mask says where and how large the defect is, so {option} has no effect; leave it out")
    place = None if at is None else _point(at)
    given = read_image_to_paint(image)
    drawn = None if mask is None else read_drawn_mask(mask, image, (given.shape[0], given.shape[1]))
    allowed, reference = read_region(region, region_of, image, (given.shape[0], given.shape[1]))
    augmenter = DefectAugmenter(
        source, defects=None if defect is None else [defect], severity=severity, scale=1.0 if scale is None else scale,
        region=allowed, region_of=reference,
    )  # fmt: skip
    painted = augmenter.apply(given, np.random.default_rng(seed), mask=drawn, at=place)
    if not painted.mask.any() and severity > 0:
        raise DataError(
            f"no defect of this source fits on {image}"
            f"{'' if at is None else f' at {at}'}{'' if region is None else f' in the region of {region}'}; "
            "try another --seed, --at, --scale or --severity"
        )
    beside = output.with_name(f"{output.stem}_mask.png")
    with replacing(output) as image_file, replacing(beside) as mask_file:  # both or none
        image_file.write_bytes(encode_png(painted.image))
        mask_file.write_bytes(encode_png(mask_to_pixels(painted.mask)))
    say(output, beside)


def _point(text: str) -> tuple[float, float]:
    from defect_synth.errors import ConfigError

    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        raise ConfigError(f"--at must be x,y in pixels, such as 120,80; got {text!r}") from None
    return x, y
