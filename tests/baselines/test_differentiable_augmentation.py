import pytest
import torch

from defect_synth.baselines.differentiable_augmentation import NUM_UNIFORMS, DiffAugmentation, diff_augment

NO_CHANGE = [0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]  # but for a square whose centre is the top left corner


def drawn(*changes):
    rows = torch.tensor([NO_CHANGE] * len(changes))
    for row, change in zip(rows, changes, strict=True):
        for place, value in change.items():
            row[place] = value
    return DiffAugmentation(rows)


def test_colour_changes_have_their_literal_values():
    image = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 3, 1, 1).repeat(1, 1, 16, 16)
    image[..., 8:] = 0.0
    place = (0, slice(None), 12, 4)  # in the left half and outside the square
    assert diff_augment(image, drawn({0: 0.75}))[place].tolist() == pytest.approx([0.45, 0.65, 1.15])
    assert diff_augment(image, drawn({1: 0.0}))[place].tolist() == pytest.approx([0.5] * 3)
    mean = 0.25  # of the whole image
    expected = [mean + 1.25 * (value - mean) for value in (0.2, 0.4, 0.9)]
    assert diff_augment(image, drawn({2: 0.75}))[place].tolist() == pytest.approx(expected)


def test_translation_pads_with_zeros_and_reaches_an_eighth_of_the_side(rng):
    image = torch.randn(2, 3, 16, 16, generator=rng)
    out = diff_augment(image, drawn({3: 0.9999, 5: 0.9999, 6: 0.9999}, {4: 0.0, 5: 0.9999, 6: 0.9999}))
    assert (out[0, :, :2] == 0).all()  # down by 2
    torch.testing.assert_close(out[0, :, 2:8, :8], image[0, :, :6, :8])
    assert (out[1, :, :, 14:] == 0).all()  # left by 2
    torch.testing.assert_close(out[1, :, :8, :6], image[1, :, :8, 2:8])


def test_the_square_is_half_a_side_and_may_lie_partly_outside(rng):
    image = torch.ones(2, 1, 16, 16)
    out = diff_augment(image, drawn({5: 0.5, 6: 0.5}, {}))
    assert [int((picture == 0).sum()) for picture in out] == [64, 16]  # all of it, and a quarter at the corner


def test_gradients_flow_through_every_augmentation(rng):
    uniforms = DiffAugmentation(torch.rand(2, NUM_UNIFORMS, generator=rng))
    image = torch.randn(2, 3, 8, 8, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, uniforms), image)


def test_a_part_of_a_batch_is_augmented_as_in_the_whole(rng):
    image, uniforms = (
        torch.randn(4, 3, 16, 16, generator=rng),
        DiffAugmentation(torch.rand(4, NUM_UNIFORMS, generator=rng)),
    )
    whole = diff_augment(image, uniforms)
    torch.testing.assert_close(diff_augment(image[1:3], uniforms.part(1, 3)), whole[1:3])
