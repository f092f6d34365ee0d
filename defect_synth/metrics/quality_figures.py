"""The figures of a quality report, computed from the measurements of one defect category."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from defect_synth.errors import DataError
from defect_synth.metrics.agreement import change_agreement, contrast_agreement
from defect_synth.metrics.clustered_lpips import ClusteredDistance
from defect_synth.metrics.kid import feature_statistics, kid, mmd2_with_error, standardise
from defect_synth.metrics.mask_realism import mask_realism
from defect_synth.metrics.measurements import VIEWS, Measurements
from defect_synth.metrics.memorisation import memorisation
from defect_synth.metrics.neighbours import to_nearest
from defect_synth.metrics.precision_recall import precision_recall
from defect_synth.metrics.quality_report import Figure, Neighbour

PUBLISHED_NETWORK = "Inception"
"""Only figures of features with this name are called KID."""

_NUM_NEAREST = 10
_NORMAL_95 = 1.96
_K = 3  # the k-th nearest neighbour sets the radius in precision and recall


@dataclass(frozen=True, eq=False)
class SetComparison:
    """The measurements of the images of one defect category that are compared.

    Attributes:
        training: Measurements of the real images that the generator was trained on.
        held_out: Measurements of the other real images; None if there are none.
        generated: Measurements of the generated images.
        seed: Seed of subsets and bootstrap samples.
    """

    training: Measurements
    held_out: Measurements | None
    generated: Measurements
    seed: int

    @property
    def references(self) -> tuple[tuple[str, Measurements], ...]:
        """Names and measurements of the sets of real images that the generated ones are compared with."""
        held_out = () if self.held_out is None else (("held-out defects", self.held_out),)
        return (("training defects", self.training), *held_out)

    @property
    def real(self) -> Measurements:
        """Measurements of all real images."""
        return Measurements.join([measured for _, measured in self.references])

    def features(self, network: str, view: str) -> tuple[Callable[[Measurements], Tensor], str]:
        """A function that returns the features of measurements, and a note that says how they are scaled.

        Features of the published network are used as they are. Those of any other network are first brought to mean 0
        and standard deviation 1 over all real images of the defect category, because their scales mean nothing.
        """
        key = (network, view)
        if network == PUBLISHED_NETWORK:
            return (lambda measured: measured.features[key]), ""
        mean, std = feature_statistics(self.real.features[key])
        return (lambda measured: standardise(measured.features[key], mean, std)), "standardised over the real images"


def compute_figures(
    comparison: SetComparison, networks: Sequence[str], clusters: Sequence[ClusteredDistance], cluster_network: str
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """All figures of one defect category, and for those that could not be computed the reasons."""
    figures: list[Figure] = []
    skipped: list[str] = []

    def attempt(what: str, compute: Callable[..., Iterator[Figure]], *arguments: object) -> None:
        try:
            figures.extend(compute(comparison, *arguments))
        except DataError as error:
            skipped.append(f"{what}: {error}")

    sets = [(network, view) for network in networks for view in VIEWS]
    for network, view in sets:
        attempt(f"MMD ({network}, {view})", _mmd, network, view)
    figures.extend(_clustered(clusters, cluster_network))
    for network, view in sets:
        attempt(f"precision and recall ({network}, {view})", _precision_recall, network, view)
    for network, view in sets:
        attempt(f"memorisation ({network}, {view})", _memorisation, network, view)
    attempt("mask realism", _masks)
    attempt("agreement with the clean image", _change)
    attempt("outline contrast", _contrast)
    return tuple(figures), tuple(skipped)


def nearest_training_images(
    comparison: SetComparison, network: str, seeds: Sequence[int], names: Sequence[str]
) -> tuple[Neighbour, ...]:
    """The ten generated images whose defect crops are nearest to that of a training image, nearest first.

    Empty if the features cannot be standardised because there is a single real image; `compute_figures` says so.
    """
    try:
        of, _ = comparison.features(network, "crop")
    except DataError:
        return ()
    distances, nearest = to_nearest(of(comparison.generated), of(comparison.training))
    order = torch.argsort(distances, stable=True)[:_NUM_NEAREST].tolist()
    return tuple(Neighbour(seeds[i], names[int(nearest[i])], float(distances[i])) for i in order)


def _mmd(comparison: SetComparison, network: str, view: str) -> Iterator[Figure]:
    """KID or its substitute times 1000, as published: to each set of real images, and between these for comparison."""
    of, note = comparison.features(network, view)
    metric = "KID x1000" if network == PUBLISHED_NETWORK else "MMD x1000"
    for against, real in comparison.references:
        value, _ = kid(of(real), of(comparison.generated), seed=comparison.seed)
        yield _with_error(metric, network, view, against, value, of(real), of(comparison.generated), note)
    if comparison.held_out is not None and min(len(comparison.training), len(comparison.held_out)) > 1:
        a, b = of(comparison.training), of(comparison.held_out)
        reference = f"{metric} of held-out defects"
        yield _with_error(reference, network, view, "training defects", kid(a, b, seed=comparison.seed)[0], a, b, note)


def _with_error(
    metric: str, network: str, view: str, against: str, value: float, a: Tensor, b: Tensor, note: str
) -> Figure:
    low = high = None
    if min(len(a), len(b)) > 2:
        error = mmd2_with_error(a, b)[1]
        low, high = 1000 * (value - _NORMAL_95 * error), 1000 * (value + _NORMAL_95 * error)
    better = "" if "held-out" in metric else "lower"
    return Figure(metric, network, view, against, 1000 * value, low, high, better, note)


def _clustered(clusters: Sequence[ClusteredDistance], network: str) -> Iterator[Figure]:
    lpips = network.startswith("LPIPS")
    metric = "clustered LPIPS" if lpips else "clustered distance"
    for found in clusters:
        filled = sum(size > 1 for size in found.sizes)
        note = f"{filled} of {len(found.sizes)} clusters have 2 or more members"
        note += f", {found.dropped} images beyond the cap" if found.dropped else ""
        yield Figure(f"{metric}, {found.protocol}", network, "image", "training defects", found.value,
                     better="higher", note=note)  # fmt: skip


def _precision_recall(comparison: SetComparison, network: str, view: str) -> Iterator[Figure]:
    of, note = comparison.features(network, view)
    note = f"k = {_K}{', ' if note else ''}{note}"
    for against, real in comparison.references:
        found = precision_recall(of(real), of(comparison.generated), _K)
        yield Figure("precision", network, view, against, found.precision, better="higher", note=note)
        yield Figure("recall", network, view, against, found.recall, better="higher", note=note)


def _memorisation(comparison: SetComparison, network: str, view: str) -> Iterator[Figure]:
    of, note = comparison.features(network, view)
    if comparison.held_out is None:
        raise DataError("no held-out defects; give a run that was trained with --partition, or name a partition")
    found = memorisation(of(comparison.training), of(comparison.held_out), of(comparison.generated), comparison.seed)
    against = "training defects"
    yield Figure("nearest-neighbour ratio", network, view, against, found.ratio, found.low, found.high, "near 1",
                 "distance of generated over that of held-out images" + (f"; {note}" if note else ""))  # fmt: skip
    yield Figure("closer than any held-out image", network, view, against, found.closer, better="lower")


def _masks(comparison: SetComparison) -> Iterator[Figure]:
    found = mask_realism(comparison.real.shapes, comparison.generated.shapes, comparison.seed)
    units = {
        "area": "octaves", "x": "image widths", "y": "image heights", "elongation": "octaves",
        "border": "difference of shares",
    }  # fmt: skip
    for part, unit in units.items():
        distance = getattr(found, part)
        note = f"{unit}; equal distributions stay below {distance.by_chance:.3g}"
        yield Figure(f"mask {part} distance", "", "mask", "real defects", distance.value, distance.low, distance.high,
                     "lower", note, by_chance=distance.by_chance)  # fmt: skip
    yield Figure("empty masks", "", "mask", "", found.empty_share, better="lower")


def _change(comparison: SetComparison) -> Iterator[Figure]:
    if np.isnan(comparison.generated.changes).all():
        raise DataError("the source has no paired clean images")
    found = change_agreement(comparison.generated.changes, comparison.seed)
    yield Figure("change inside the mask", "", "mask", "", found.inside, note="grey levels")
    yield Figure("change outside the mask", "", "mask", "", found.outside, better="lower", note="grey levels")
    yield Figure("mask-change AUC", "", "mask", "", found.auc, found.low, found.high, "higher")


def _contrast(comparison: SetComparison) -> Iterator[Figure]:
    found = contrast_agreement(comparison.generated.contrasts, comparison.real.contrasts, comparison.seed)
    yield Figure("outline contrast ratio", "", "mask", "real defects", found.ratio, found.low, found.high, "near 1",
                 f"median contrast {found.generated:.2f} generated, {found.real:.2f} real")  # fmt: skip
