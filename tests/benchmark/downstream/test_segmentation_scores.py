"""Segmentation scores compared with their definitions, with scikit-learn and with anomalib."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.benchmark.downstream.segmentation_scores import (
    per_region_overlap,
    precision_recall,
    segmentation_scores,
)
from defect_synth.nn.torchvision_import import ensure_torchvision


def random_maps(seed: int = 0, *, side: int = 16, noise: float = 1.0):
    """Three images: two regions, one region, none; scores are higher on the defects."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((3, side, side), np.uint8)
    masks[0, 2:6, 2:6] = 1
    masks[0, 10:12, 8:15] = 1
    masks[1, 0:3, 0:9] = 1
    maps = (noise * rng.random((3, side, side)) + 0.5 * masks).astype(np.float32)
    return maps, masks


def rounded_maps(seed: int = 0):
    """The same with many equal scores."""
    maps, masks = random_maps(seed)
    return maps.round(2), masks


def test_average_precision_equals_a_loop_over_thresholds():
    maps, masks = rounded_maps()
    truth = masks.astype(bool)
    area, before, best = 0.0, 0.0, 0.0
    for level in sorted(set(maps.ravel().tolist()), reverse=True):
        found = maps >= level
        precision, recall = (found & truth).sum() / found.sum(), (found & truth).sum() / truth.sum()
        area += (recall - before) * precision
        before = recall
        best = max(best, 2 * precision * recall / (precision + recall) if precision else 0)
    scores = segmentation_scores(maps, masks, 0.8)
    assert scores.average_precision == pytest.approx(area)
    assert scores.best_f1 == pytest.approx(best)


def test_overlap_figures_equal_those_counted_by_hand():
    maps, masks = rounded_maps()
    scores = segmentation_scores(maps, masks, 0.8)
    found, truth = maps >= np.float32(0.8), masks.astype(bool)
    both, either = (found & truth).sum(), (found | truth).sum()
    assert scores.iou == pytest.approx(both / either)
    assert scores.f1 == pytest.approx(2 * both / (found.sum() + truth.sum()))
    each = [(f & t).sum() / (f | t).sum() for f, t in zip(found, truth, strict=True)]
    assert scores.per_image == pytest.approx(each[:2])  # the third image has no defect


def test_pro_equals_a_brute_force_version():
    maps, masks = rounded_maps(1)
    regions = [masks[0] * 0, masks[0] * 0, masks[1]]
    regions[0][2:6, 2:6] = 1
    regions[1][10:12, 8:15] = 1
    owners = (0, 0, 1)
    curve = []
    for level in np.unique(maps)[::-1]:
        rate = (maps >= level)[masks == 0].mean()
        hits = [(maps[i] >= level)[region == 1].mean() for i, region in zip(owners, regions, strict=True)]
        curve.append((rate, np.mean(hits)))
    rates, overlaps = np.array(curve).T
    inside = np.linspace(0, 0.3, 3001)
    expected = np.trapezoid(np.interp(inside, rates, overlaps), inside) / 0.3
    assert per_region_overlap(maps, masks) == pytest.approx(expected, abs=0.02)
    assert per_region_overlap(masks.astype(np.float32), masks) == pytest.approx(1.0)
    assert per_region_overlap(1 - masks.astype(np.float32), masks) < 0.01


def test_equal_scores_share_a_threshold():
    precision, recall = precision_recall(np.array([0.5, 0.5, 0.1], np.float32), np.array([True, False, True]))
    assert precision.tolist() == pytest.approx([0.5, 2 / 3])
    assert recall.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_and_curve_equal_those_of_scikit_learn(seed):
    from sklearn.metrics import average_precision_score, precision_recall_curve

    maps, masks = rounded_maps(seed)
    scores = segmentation_scores(maps, masks, 0.8)
    assert scores.average_precision == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-12)

    precision, recall = precision_recall(maps.ravel(), masks.ravel().astype(bool))
    theirs = precision_recall_curve(masks.ravel(), maps.ravel())
    assert np.allclose(precision[::-1], theirs[0][:-1], atol=1e-12)  # theirs ends with a point without answers
    assert np.allclose(recall[::-1], theirs[1][:-1], atol=1e-12)


def test_f1_and_iou_equal_those_of_scikit_learn():
    from sklearn.metrics import f1_score, jaccard_score

    maps, masks = random_maps()
    scores = segmentation_scores(maps, masks, 0.8)
    found, truth = (maps >= np.float32(0.8)).ravel(), masks.ravel()
    assert scores.f1 == pytest.approx(f1_score(truth, found), abs=1e-12)
    assert scores.iou == pytest.approx(jaccard_score(truth, found), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_pro_equals_that_of_anomalib(seed):
    ensure_torchvision()
    from anomalib.metrics.aupro import _AUPRO

    maps, masks = random_maps(seed, side=48, noise=0.8)
    theirs = _AUPRO(fpr_limit=0.3)
    theirs.update(torch.from_numpy(maps), torch.from_numpy(masks.astype(np.int64)))
    # Both integrate a curve of steps, at different points of it.
    assert per_region_overlap(maps, masks) == pytest.approx(float(theirs.compute()), abs=2e-3)
