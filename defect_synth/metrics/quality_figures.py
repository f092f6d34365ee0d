"""From what was measured about the images of one defect to the figures of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from defect_synth.errors import DataError
from defect_synth.metrics.agreement import change_agreement, contrast_agreement
from defect_synth.metrics.clustered_lpips import ClusteredDistance
from defect_synth.metrics.figures import Figure, Neighbour
from defect_synth.metrics.kid import feature_statistics, kid, mmd2_with_error, standardise
from defect_synth.metrics.mask_realism import mask_realism
from defect_synth.metrics.measure import VIEWS, Measured
from defect_synth.metrics.memorisation import memorisation
from defect_synth.metrics.neighbours import to_nearest
from defect_synth.metrics.precision_recall import precision_recall

PUBLISHED_NETWORK = "Inception"
"""Only features of this name make a figure called KID."""

_CLOSEST = 10
_NORMAL_95 = 1.96
_NEIGHBOURS = 3


@dataclass(frozen=True, eq=False)
class Compared:
    """The measurements of one defect.

    Attributes:
        training: Of the real images that were learnt from.
        held_out: Of the others; None where there are none.
        generated: Of the generated images.
        seed: Of subsets and resampling.
    """

    training: Measured
    held_out: Measured | None
    generated: Measured
    seed: int

    @property
    def references(self) -> tuple[tuple[str, Measured], ...]:
        """The sets of real images that generated ones are compared with, by their names in figures."""
        held_out = () if self.held_out is None else (("held-out defects", self.held_out),)
        return (("training defects", self.training), *held_out)

    @property
    def real(self) -> Measured:
        """All real images."""
        return Measured.joined([measured for _, measured in self.references])

    def features(self, network: str, view: str) -> tuple[Callable[[Measured], Tensor], str]:
        """How to get the features that a figure is made of, and how they were scaled.

        Those of the published network are used as they are. Of any other, each feature is brought to mean 0 and
        deviation 1 over all real images of the defect first: their scales mean nothing.
        """
        key = (network, view)
        if network == PUBLISHED_NETWORK:
            return (lambda measured: measured.features[key]), ""
        mean, std = feature_statistics(self.real.features[key])
        return (lambda measured: standardise(measured.features[key], mean, std)), "standardised over the real images"


def figures_of(
    compared: Compared, networks: Sequence[str], clusters: Sequence[ClusteredDistance], cluster_network: str
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """All figures of one defect, and what could not be computed and why."""
    figures: list[Figure] = []
    skipped: list[str] = []

    def attempt(what: str, compute: Callable[[], Iterator[Figure]]) -> None:
        try:
            figures.extend(compute())
        except DataError as error:
            skipped.append(f"{what}: {error}")

    for network in networks:
        for view in VIEWS:
            attempt(f"MMD ({network}, {view})", lambda n=network, v=view: _mmd(compared, n, v))  # type: ignore[misc]
    figures.extend(_clusters(clusters, cluster_network))
    for network in networks:
        for view in VIEWS:
            attempt(
                f"precision and recall ({network}, {view})",
                lambda n=network, v=view: _precision_recall(compared, n, v),  # type: ignore[misc]
            )
    for network in networks:
        for view in VIEWS:
            attempt(f"memorisation ({network}, {view})", lambda n=network, v=view: _memorised(compared, n, v))  # type: ignore[misc]
    attempt("mask realism", lambda: _masks(compared))
    attempt("agreement with the clean image", lambda: _change(compared))
    attempt("outline contrast", lambda: _contrast(compared))
    return tuple(figures), tuple(skipped)


def closest(compared: Compared, network: str, seeds: Sequence[int], names: Sequence[str]) -> tuple[Neighbour, ...]:
    """The generated images whose defect crops are nearest to a training image's, nearest first.

    None where features cannot be standardised (a single real image); `figures_of` then says so.
    """
    try:
        of, _ = compared.features(network, "crop")
    except DataError:
        return ()
    distances, nearest = to_nearest(of(compared.generated), of(compared.training))
    order = torch.argsort(distances, stable=True)[:_CLOSEST].tolist()
    return tuple(Neighbour(seeds[i], names[int(nearest[i])], float(distances[i])) for i in order)


def _mmd(compared: Compared, network: str, view: str) -> Iterator[Figure]:
    """KID or its stand-in, x1000 as published, to each set of real images, and between these as the yardstick."""
    of, note = compared.features(network, view)
    metric = "KID x1000" if network == PUBLISHED_NETWORK else "MMD x1000"
    for against, real in compared.references:
        value, _ = kid(of(real), of(compared.generated), seed=compared.seed)
        yield _with_error(metric, network, view, against, value, of(real), of(compared.generated), note)
    if compared.held_out is not None and min(len(compared.training), len(compared.held_out)) > 1:
        a, b = of(compared.training), of(compared.held_out)
        reference = f"{metric} of held-out defects"
        yield _with_error(reference, network, view, "training defects", kid(a, b, seed=compared.seed)[0], a, b, note)


def _with_error(
    metric: str, network: str, view: str, against: str, value: float, a: Tensor, b: Tensor, note: str
) -> Figure:
    low = high = None
    if min(len(a), len(b)) > 2:
        error = mmd2_with_error(a, b)[1]
        low, high = 1000 * (value - _NORMAL_95 * error), 1000 * (value + _NORMAL_95 * error)
    better = "" if "held-out" in metric else "lower"
    return Figure(metric, network, view, against, 1000 * value, low, high, better, note)


def _clusters(clusters: Sequence[ClusteredDistance], network: str) -> Iterator[Figure]:
    lpips = network.startswith("LPIPS")
    metric = "clustered LPIPS" if lpips else "clustered distance"
    for found in clusters:
        filled = sum(size > 1 for size in found.sizes)
        note = f"{filled} of {len(found.sizes)} clusters have 2 or more members"
        note += f", {found.dropped} images beyond the cap" if found.dropped else ""
        yield Figure(f"{metric}, {found.protocol}", network, "image", "training defects", found.value,
                     better="higher", note=note)  # fmt: skip


def _precision_recall(compared: Compared, network: str, view: str) -> Iterator[Figure]:
    of, note = compared.features(network, view)
    note = f"k = {_NEIGHBOURS}{', ' if note else ''}{note}"
    for against, real in compared.references:
        found = precision_recall(of(real), of(compared.generated), _NEIGHBOURS)
        yield Figure("precision", network, view, against, found.precision, better="higher", note=note)
        yield Figure("recall", network, view, against, found.recall, better="higher", note=note)


def _memorised(compared: Compared, network: str, view: str) -> Iterator[Figure]:
    of, note = compared.features(network, view)
    if compared.held_out is None:
        raise DataError("no held-out defects; give a run trained with --partition, or name one")
    found = memorisation(of(compared.training), of(compared.held_out), of(compared.generated), compared.seed)
    against = "training defects"
    yield Figure("nearest-neighbour ratio", network, view, against, found.ratio, found.low, found.high, "near 1",
                 "distance of generated over held-out images" + (f"; {note}" if note else ""))  # fmt: skip
    yield Figure("closer than any held-out image", network, view, against, found.closer, better="lower")


def _masks(compared: Compared) -> Iterator[Figure]:
    found = mask_realism(compared.real.shapes, compared.generated.shapes, compared.seed)
    units = {
        "area": "octaves", "x": "image widths", "y": "image heights", "elongation": "octaves",
        "border": "difference of shares",
    }  # fmt: skip
    for part, unit in units.items():
        distance = getattr(found, part)
        note = f"{unit}; equal distributions stay below {distance.by_chance:.3g}"
        yield Figure(f"mask {part} distance", "", "mask", "real defects", distance.value, distance.low, distance.high,
                     "lower", note)  # fmt: skip
    yield Figure("empty masks", "", "mask", "", found.empty_share, better="lower")


def _change(compared: Compared) -> Iterator[Figure]:
    if np.isnan(compared.generated.changes).all():
        raise DataError("the source has no paired clean images")
    found = change_agreement(compared.generated.changes, compared.seed)
    yield Figure("change inside the mask", "", "mask", "", found.inside, note="grey levels")
    yield Figure("change outside the mask", "", "mask", "", found.outside, better="lower", note="grey levels")
    yield Figure("mask-change AUC", "", "mask", "", found.auc, found.low, found.high, "higher")


def _contrast(compared: Compared) -> Iterator[Figure]:
    found = contrast_agreement(compared.generated.contrasts, compared.real.contrasts, compared.seed)
    yield Figure("outline contrast ratio", "", "mask", "real defects", found.ratio, found.low, found.high, "near 1",
                 f"median contrast {found.generated:.2f} generated, {found.real:.2f} real")  # fmt: skip
