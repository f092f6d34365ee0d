import numpy as np
import pytest

from defect_synth.benchmark.tasks.anomaly_detector import PatchDetector, auroc, best_threshold, f1_at
from tests.fake_data import fake_category


def test_the_best_threshold_is_found_and_lies_between_scores():
    good, bad = np.array([0.1, 0.2, 0.35], np.float32), np.array([0.3, 0.5, 0.9], np.float32)
    cut = best_threshold(good, bad)
    # down to 0.3: 3 right of 4 called, F1 6/7; only 0.5 and 0.9: 4/5
    assert cut.threshold == pytest.approx(0.25)
    assert cut.f1 == pytest.approx(6 / 7)
    assert f1_at(cut.threshold, good, bad) == pytest.approx(6 / 7)
    assert f1_at(2.0, good, bad) == 0


def test_auroc_counts_pairs():
    good, bad = np.array([1, 2, 3], np.float32), np.array([2, 4], np.float32)
    assert auroc(good, bad) == pytest.approx((1 + 0.5 + 0 + 3) / 6)


def test_the_detector_tells_defects_from_good_images_it_has_not_seen():
    made = list(fake_category({"hole": 10}, good=30, size=48, seed=0))
    good = np.stack([image for defect, _, image, _ in made if defect is None])
    bad = np.stack([image for defect, _, image, _ in made if defect == "hole"])
    detector = PatchDetector(good[:20])
    held, defective = detector.scores(good[20:]), detector.scores(bad)
    assert auroc(held, defective) > 0.95
    assert np.array_equal(PatchDetector(good[:20]).scores(bad), defective)
