"""The four defects of the procedural hazelnut: crack, cut, hole and print.

Each is drawn on a patch, the plane that touches the shell at a random visible place, and projected onto the curved
shell. A defect changes in place what the surface is (colour, relief, gloss, light that arrives); how that looks under
the lamp is computed afterwards. Lengths are in image sides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from defect_synth.demo.crack import crack
from defect_synth.demo.cut import cut
from defect_synth.demo.hole import hole
from defect_synth.demo.nut import Nut, View
from defect_synth.demo.photograph import Light
from defect_synth.demo.shell import Surface
from defect_synth.demo.stamp import stamp

DRAW: dict[str, Callable[[np.random.Generator, Surface, Nut, View, Light], None]] = {
    "crack": crack,
    "cut": cut,
    "hole": hole,
    "print": stamp,
}
