import numpy as np
import pytest
import torch

from defect_synth.benchmark.tasks.batches import TrainingMix
from defect_synth.benchmark.tasks.segmentation_scores import per_region_overlap, precision_recall, segmentation_scores
from defect_synth.benchmark.tasks.segmenter import SegmentConfig, train_segmenter
from defect_synth.benchmark.tasks.unet import UNet
from tests.benchmark.squares import SIZE, squares


def random_maps(seed: int = 0):
    rng = np.random.default_rng(seed)
    masks = np.zeros((3, 16, 16), np.uint8)
    masks[0, 2:6, 2:6] = 1
    masks[0, 10:12, 8:15] = 1
    masks[1, 0:3, 0:9] = 1
    maps = (rng.random((3, 16, 16)) + 0.5 * masks).astype(np.float32).round(2)
    return maps, masks


def test_average_precision_equals_a_loop_over_thresholds():
    maps, masks = random_maps()
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
    maps, masks = random_maps()
    scores = segmentation_scores(maps, masks, 0.8)
    found, truth = maps >= np.float32(0.8), masks.astype(bool)
    both, either = (found & truth).sum(), (found | truth).sum()
    assert scores.iou == pytest.approx(both / either)
    assert scores.f1 == pytest.approx(2 * both / (found.sum() + truth.sum()))
    each = [(f & t).sum() / (f | t).sum() for f, t in zip(found, truth, strict=True)]
    assert scores.per_image == pytest.approx(each[:2])  # the third image has no defect


def test_pro_equals_a_brute_force_version():
    maps, masks = random_maps(1)
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


def test_the_unet_sees_every_level_and_keeps_the_size():
    torch.manual_seed(0)
    network = UNet(4, 2).eval()
    image = torch.randn(1, 3, 16, 16)
    assert network(image).shape == (1, 1, 16, 16)
    assert sum(p.numel() for p in UNet(4, 2).down[2].parameters()) == 8 * 16 * 9 + 16 * 16 * 9 + 4 * 16


def test_masks_are_learnt_the_same_way_each_time():
    mix = TrainingMix(squares(24, 0, "train"), squares(24, 3, "synthetic"))
    good = np.random.default_rng(5).integers(60, 120, (8, SIZE, SIZE, 3), dtype=np.uint8)
    config = SegmentConfig(steps=40, batch=8, channels=8, levels=2, learning_rate=1e-2)
    test = squares(12, 1, "test")
    maps = train_segmenter(mix, good, None, config, 0).maps(test.images)
    assert segmentation_scores(maps, test.masks, 0.5).average_precision > 0.9
    assert (maps > 0.5).mean() < 0.4

    short = config.model_copy(update=dict(steps=2))
    again = [train_segmenter(mix, good, None, short, seed).maps(test.images) for seed in (0, 0, 1)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])


def test_the_threshold_is_set_by_the_validation_images():
    mix, config = TrainingMix(squares(12, 0, "a")), SegmentConfig(steps=2, batch=4, channels=4, levels=1)
    good = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    assert train_segmenter(mix, good, None, config, 0).threshold == 0.5
    validation = squares(6, 2, "v")
    chosen = train_segmenter(mix, good, validation, config, 0)
    maps, truth = chosen.maps(validation.images), validation.masks.astype(bool)

    def f1(threshold):
        return 2 * ((maps >= threshold) & truth).sum() / ((maps >= threshold).sum() + truth.sum())

    assert f1(chosen.threshold) == max(f1(t) for t in np.linspace(0.05, 0.95, 19))
