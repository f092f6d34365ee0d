"""Self-contained pages: a template of this room filled with pictures that are inside the page."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import jinja2
import numpy as np

from defect_synth.samples import Pixels

_LONGEST = 720  # side of a picture, in pixels


def data_url(image: Pixels, longest: int = _LONGEST) -> str:
    """An image [H, W, 3] as a JPEG data URL, reduced: a page of a dozen 4k images would be too large to open.

    Args:
        image: uint8, RGB.
        longest: The most that its longer side may have, in pixels.
    """
    scale = min(1.0, longest / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(small[:, :, ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def rendered(template: str, **values: Any) -> str:
    """The text of a page; whatever is put into it is escaped.

    Args:
        template: Name of a file in this folder.
        values: What the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("defect_synth.augment", package_path=""), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template(template).render(**values)
