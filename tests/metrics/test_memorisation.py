import numpy as np
import pytest
import torch

from defect_synth.errors import DataError
from defect_synth.metrics.memorisation import memorisation


def gaussian(count, seed, spread=1.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, spread, (count, 6)))


def test_literal_distances():
    train = torch.tensor([[0.0], [10.0]])
    held_out = torch.tensor([[2.0], [6.0], [12.0]])  # 2, 4, 2
    generated = torch.tensor([[1.0], [9.5], [20.0], [13.0]])  # 1, 0.5, 10, 3

    found = memorisation(train, held_out, generated)

    assert (found.generated, found.held_out, found.ratio) == (2.0, 2.0, 1.0)
    assert found.distances == (1.0, 0.5, 10.0, 3.0)
    assert found.nearest == (0, 1, 1, 1)
    assert found.closer == 0.5
    assert found.low < 1 < found.high


def test_copies_are_distinguished_from_new_images():
    train, held_out = gaussian(8, 0), gaussian(16, 1)
    copies = train.repeat(10, 1) + gaussian(80, 2, spread=0.05)

    copied, fresh = memorisation(train, held_out, copies), memorisation(train, held_out, gaussian(80, 3))

    assert copied.ratio < 0.1
    assert copied.high < 1
    assert copied.closer == 1
    assert fresh.low < 1 < fresh.high
    assert fresh.high >= 1


def test_equal_seeds_give_equal_intervals():
    sets = gaussian(5, 0), gaussian(9, 1), gaussian(30, 2)
    assert memorisation(*sets, seed=4) == memorisation(*sets, seed=4)
    assert memorisation(*sets, seed=4).low != memorisation(*sets, seed=5).low


def test_empty_sets_and_held_out_copies_are_refused():
    train = gaussian(4, 0)
    with pytest.raises(DataError, match="at least 1 held-out image, got 0"):
        memorisation(train, train[:0], train)
    with pytest.raises(DataError, match="held-out images equal training images"):
        memorisation(train, train.clone(), train)
