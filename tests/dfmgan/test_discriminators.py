from __future__ import annotations

import pytest
import torch

from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator, minibatch_std


@pytest.mark.parametrize(("count", "group"), [(8, 4), (6, 3), (4, 8), (1, 4), (6, 2)])
def test_groups_are_strided_and_each_gives_one_number(count, group, rng):
    x = torch.randn(count, 3, 2, 2, generator=rng)
    out = minibatch_std(x, group)
    assert out.shape == (count, 1, 2, 2)
    num_groups = count // min(group, count)
    for g in range(num_groups):
        members = [n for n in range(count) if n % num_groups == g]
        numbers = []
        for c in range(3):
            for i in range(2):
                for j in range(2):
                    values = x[members, c, i, j].double()
                    numbers.append(((values - values.mean()) ** 2).mean().add(1e-8).sqrt())
        for n in members:
            torch.testing.assert_close(out[n], torch.stack(numbers).mean().float().expand(1, 2, 2))


def test_a_batch_that_does_not_divide_into_groups_is_refused():
    with pytest.raises(ValueError, match=r"batch of 6 is not a multiple .* group 4"):
        minibatch_std(torch.zeros(6, 1, 2, 2), 4)


def test_identical_images_have_no_deviation():
    torch.testing.assert_close(minibatch_std(torch.ones(4, 2, 2, 2), 4), torch.full((4, 1, 2, 2), 1e-4))


@pytest.mark.parametrize("build", [build_discriminator, build_match_discriminator])
def test_the_groups_of_a_batch_do_not_see_each_other(build, rng):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(TINY.model)
    x = torch.randn(8, network.in_channels, 32, 32, generator=rng)
    logits = network(x)
    x[1::2] = 0  # the second of two groups of four
    changed = network(x)
    torch.testing.assert_close(changed[0::2], logits[0::2], rtol=1e-4, atol=1e-5)
    assert (changed[1::2] != logits[1::2]).all()


def test_d_match_sees_the_mask(rng):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_match_discriminator(TINY.model)
    x = torch.randn(4, 4, 32, 32, generator=rng, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert (gradient.abs().amax(dim=(0, 2, 3)) > 0).all()
