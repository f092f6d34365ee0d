import numpy as np
import pytest
import torch

from defect_synth.benchmark.downstream.batches import BatchSampler, TrainingMix, brighten, orient, orientations
from defect_synth.errors import DataError
from tests.benchmark.squares import relabelled, squares


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_arms_see_the_same_labels_and_the_share_is_kept():
    real, synthetic = squares(9, 0, "real"), squares(90, 1, "synthetic")
    synthetic.images[:] = 7
    alone, mixed = BatchSampler(TrainingMix(real), 10), BatchSampler(TrainingMix(real, synthetic, 0.3), 10)
    generators = seeded(), seeded()
    for _ in range(20):
        _, labels_alone, generated_alone = alone.draw(generators[0])
        images, labels, generated = mixed.draw(generators[1])
        assert torch.equal(labels, labels_alone)
        assert not generated_alone.any()
        assert int(generated.sum()) == 3
        assert torch.equal((images == 7).flatten(1).all(1), generated)


def test_drawn_images_have_the_drawn_label():
    arrays = squares(30, 0, "real")
    by_bytes = {image.tobytes(): int(label) for image, label in zip(arrays.images, arrays.labels, strict=True)}
    images, labels, _ = BatchSampler(TrainingMix(arrays), 64).draw(seeded())
    assert [by_bytes[image.numpy().tobytes()] for image in images] == labels.tolist()
    assert len({image.numpy().tobytes() for image in images}) > 20


def test_a_mask_stays_with_its_image():
    real, synthetic = squares(9, 0, "real"), squares(30, 1, "synthetic")
    images, labels, _ = BatchSampler(TrainingMix(real, synthetic), 40, with_masks=True).draw(seeded())
    turned = orient(images, seeded(1))
    for image, label in zip(turned.numpy(), labels.numpy(), strict=True):
        assert np.array_equal(image[..., 3] == 1, image[..., label] == 250)


def test_a_label_without_generated_images_stays_real():
    real, synthetic = squares(9, 0, "real"), squares(30, 1, "synthetic")
    only_first = relabelled(synthetic, np.zeros(30))
    _, labels, generated = BatchSampler(TrainingMix(real, only_first, share=1, sampling="balanced"), 32).draw(seeded())
    assert torch.equal(generated, labels == 0)
    assert 0 < int(generated.sum()) < 32


@pytest.mark.parametrize(("sampling", "share"), [("balanced", 1 / 3), ("proportional", 20 / 30)])
def test_sampling_sets_how_frequent_a_label_is(sampling, share):
    arrays = relabelled(squares(30, 0, "real"), np.repeat([0, 1, 2], [20, 5, 5]))
    _, labels, _ = BatchSampler(TrainingMix(arrays, sampling=sampling), 2000).draw(seeded())
    assert float((labels == 0).float().mean()) == pytest.approx(share, abs=0.04)


def test_orientation_reaches_all_eight_and_nothing_else():
    image = torch.from_numpy(squares(1, 0, "a").images)
    expected = {
        view.numpy().tobytes() for k in range(4) for view in (image.rot90(k, (1, 2)), image.rot90(k, (1, 2)).flip(2))
    }
    views = orient(image.repeat(200, 1, 1, 1), seeded())
    assert {view[None].numpy().tobytes() for view in views} == expected


@pytest.mark.parametrize(("flip", "rotate90", "side", "count"), [
    (True, True, 8, 8), (True, False, 8, 4), (False, True, 8, 4), (False, False, 8, 1), (True, True, 6, 4),
    (False, True, 6, 2),
])  # fmt: skip
def test_all_orientations_are_those_that_can_be_drawn(flip, rotate90, side, count):
    image = torch.randint(256, (1, 8, side, 3), dtype=torch.uint8, generator=seeded())
    drawn = orient(image.repeat(300, 1, 1, 1), seeded(1), flip=flip, rotate90=rotate90)
    views = orientations(image.numpy(), flip=flip, rotate90=rotate90)
    assert len(views) == count
    assert {view[0].tobytes() for view in views} == {view.numpy().tobytes() for view in drawn}
    assert np.array_equal(views[0], image.numpy())


def test_images_that_are_not_square_keep_their_shape():
    images = torch.randint(256, (16, 8, 12, 3), dtype=torch.uint8, generator=seeded())
    assert orient(images, seeded()).shape == images.shape


def test_brightness_stays_within_its_bounds():
    images = torch.full((200, 4, 4, 3), 100, dtype=torch.uint8)
    values = brighten(images, 0.2, seeded()).flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert 80 <= int(values.min()) < 85
    assert 115 < int(values.max()) <= 120
    assert int(brighten(torch.full_like(images, 255), 0.2, seeded()).min()) >= 203  # clamped, not wrapped around
    assert torch.equal(brighten(images, 0, seeded()), images)


def test_images_of_other_classes_are_refused_by_name():
    real = squares(6, 0, "a")
    with pytest.raises(DataError, match="classes differ: train crack, cut, hole; synthetic crack, cut, print"):
        TrainingMix(real, squares(6, 1, "b", ("crack", "cut", "print")))
    with pytest.raises(DataError, match="no training image of hole"):
        TrainingMix(relabelled(real, np.arange(6) % 2))
