import numpy as np

from defect_synth.benchmark.downstream.batches import TrainingMix
from defect_synth.benchmark.downstream.segmentation_scores import segmentation_scores
from defect_synth.benchmark.downstream.segmenter import SegmentConfig, train_segmenter
from tests.benchmark.squares import SIZE, squares


def test_the_unet_learns_masks_and_depends_on_its_seed_alone():
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


def test_the_threshold_is_the_best_one_on_the_validation_images():
    mix, config = TrainingMix(squares(12, 0, "a")), SegmentConfig(steps=2, batch=4, channels=4, levels=1)
    good = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    assert train_segmenter(mix, good, None, config, 0).threshold == 0.5
    validation = squares(6, 2, "v")
    chosen = train_segmenter(mix, good, validation, config, 0)
    maps, truth = chosen.maps(validation.images), validation.masks.astype(bool)

    def f1(threshold):
        return 2 * ((maps >= threshold) & truth).sum() / ((maps >= threshold).sum() + truth.sum())

    assert f1(chosen.threshold) == max(f1(t) for t in np.linspace(0.05, 0.95, 19))
