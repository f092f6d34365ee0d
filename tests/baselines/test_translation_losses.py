import math

import pytest
import torch

from defect_synth.baselines.translation_losses import (
    classification,
    gradient_penalty,
    interpolate,
    l1,
    least_squares_fake,
    least_squares_real,
    wasserstein,
)


def test_least_squares_terms_have_their_literal_values():
    scores = torch.tensor([0.0, 1.0, 3.0])
    assert least_squares_real(scores) == pytest.approx((1 + 0 + 4) / 3)
    assert least_squares_fake(scores) == pytest.approx((0 + 1 + 9) / 3)
    assert l1(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])) == pytest.approx(2.5)


def test_critic_terms_have_their_literal_values():
    assert wasserstein(torch.tensor([1.0, 3.0]), torch.tensor([5.0])) == -3
    real, fake = torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    assert interpolate(real, fake, torch.tensor([0.25, 1.0])).flatten().tolist() == [0.25, 1.0]
    # The score 3 a + 4 b of two pixels has a gradient of length 5 everywhere: (5 - 1)^2.
    image = torch.rand(2, 1, 1, 2).requires_grad_(True)
    scores = (image * torch.tensor([3.0, 4.0])).sum((1, 2, 3))[:, None]
    assert float(gradient_penalty(scores, image)) == pytest.approx(16, rel=1e-5)
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert float(classification(logits, torch.tensor([0]))) == pytest.approx(math.log(4))
