from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.engine.draws import Draws, batch_indices, epoch_order

CPU = torch.device("cpu")


class TestDraws:
    def test_the_same_key_gives_the_same_numbers_whatever_was_drawn_before(self):
        draws = Draws(3, 5, 1, CPU)
        first = draws.normal(2, 4, 3)
        draws.normal(1, 7)
        draws.uniform(2, 4)
        assert torch.equal(draws.normal(2, 4, 3), first)
        assert torch.equal(Draws(3, 5, 1, CPU).normal(2, 4, 3), first)

    def test_seed_iteration_phase_and_stream_each_give_other_numbers(self):
        keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)]
        numbers = {tuple(Draws(*key, CPU).normal(stream, 4).tolist()) for key in keys for stream in (0, 1)}
        assert len(numbers) == 2 * len(keys)

    def test_global_generators_are_neither_read_nor_moved(self):
        before = torch.random.get_rng_state()
        a = Draws(0, 0, 0, CPU).normal(0, 3)
        assert torch.equal(torch.random.get_rng_state(), before)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(99)
            assert torch.equal(Draws(0, 0, 0, CPU).normal(0, 3), a)

    def test_moments_are_those_of_the_named_distributions(self):
        normal, uniform = Draws(0, 0, 0, CPU).normal(0, 20_000), Draws(0, 0, 0, CPU).uniform(1, 20_000)
        assert abs(float(normal.mean())) < 0.03
        assert abs(float(normal.std()) - 1) < 0.03
        assert abs(float(uniform.mean()) - 0.5) < 0.01
        assert 0 <= float(uniform.min()) < float(uniform.max()) < 1


class TestOrderOfTrainingImages:
    @pytest.mark.parametrize(("size", "batch"), [(10, 4), (3, 8), (7, 7), (1, 3), (12, 4)])
    def test_every_image_appears_once_per_epoch(self, size, batch):
        epochs = 5
        count = -(-size * epochs // batch)
        stream = np.concatenate([batch_indices(0, i * batch, batch, size) for i in range(count)])
        for epoch in range(epochs):
            assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))

    def test_batches_from_any_offset_are_windows_of_one_stream(self):
        whole = batch_indices(7, 0, 200, 9)
        for first, batch in [(0, 5), (3, 6), (8, 2), (9, 9), (17, 30), (100, 1), (63, 137)]:
            assert np.array_equal(batch_indices(7, first, batch, 9), whole[first : first + batch])

    def test_epochs_and_seeds_have_their_own_order(self):
        orders = {tuple(epoch_order(seed, epoch, 20)) for seed in range(3) for epoch in range(4)}
        assert len(orders) == 12
