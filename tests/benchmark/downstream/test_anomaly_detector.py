import numpy as np
import pytest

from defect_synth.benchmark.downstream.anomaly_detector import PatchDetector, auroc, best_threshold, f1_at
from tests.fake_data import fake_category


def test_the_best_threshold_lies_between_scores():
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


def test_auroc_equals_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    good, bad = rng.random(40).astype(np.float32).round(1), (rng.random(25) + 0.3).astype(np.float32).round(1)
    truth = np.repeat([0, 1], [len(good), len(bad)])
    assert auroc(good, bad) == pytest.approx(roc_auc_score(truth, np.concatenate([good, bad])), abs=1e-12)


def test_the_best_threshold_has_the_highest_f1_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(1)
    good, bad = rng.random(30).astype(np.float32), (rng.random(20) + 0.4).astype(np.float32)
    scores, truth = np.concatenate([good, bad]), np.repeat([0, 1], [len(good), len(bad)])
    best = max(f1_score(truth, scores >= level) for level in scores)
    found = best_threshold(good, bad)
    assert found.f1 == pytest.approx(best, abs=1e-12)
    assert f1_score(truth, scores >= found.threshold) == pytest.approx(best, abs=1e-12)


def test_the_detector_separates_defects_from_unseen_good_images():
    made = list(fake_category({"hole": 10}, good=30, size=48, seed=0))
    good = np.stack([image for defect, _, image, _ in made if defect is None])
    bad = np.stack([image for defect, _, image, _ in made if defect == "hole"])
    detector = PatchDetector(good[:20])
    held, defective = detector.scores(good[20:]), detector.scores(bad)
    assert auroc(held, defective) > 0.95
    assert np.array_equal(PatchDetector(good[:20]).scores(bad), defective)
