import pytest
import torch
import torch.nn.functional as F

from defect_synth.baselines.cdc_losses import distance_consistency, similarities


def test_similarities_are_a_softmax_over_the_cosines_to_all_others(rng):
    features = torch.randn(4, 3, 2, 2, generator=rng)
    flat = features.flatten(1)
    for i in range(4):
        cosines = torch.stack([F.cosine_similarity(flat[i], flat[j], dim=0) for j in range(4) if j != i])
        torch.testing.assert_close(similarities(features)[i], cosines.log_softmax(0))


def test_distance_consistency_is_exactly_zero_for_equal_networks_and_positive_otherwise(rng):
    source, target = torch.randn(2, 4, 8, generator=rng)
    assert distance_consistency(source, source) == 0
    assert distance_consistency(source, 3 * source) < 1e-9  # cosines do not see lengths
    q, p = similarities(target), similarities(source)
    by_hand = sum(float(q[i, j].exp() * (q[i, j] - p[i, j])) for i in range(4) for j in range(3)) / 4
    assert by_hand > 0
    assert float(distance_consistency(source, target)) == pytest.approx(by_hand, rel=1e-5)


def test_distance_consistency_has_a_gradient_for_the_target_alone(rng):
    source, target = (torch.randn(4, 8, generator=rng, requires_grad=True) for _ in range(2))
    distance_consistency(source.detach(), target).backward()
    assert target.grad is not None
    assert source.grad is None
