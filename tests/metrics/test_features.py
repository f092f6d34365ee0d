import pytest
import torch

from defect_synth.metrics.features import RandomFeatures
from defect_synth.metrics.kid import feature_statistics, mmd2_with_error, snapshot_score, standardise
from tests.metrics.nuts import noise, nuts

FIRST = [0.831982, 0.229089, 0.340294]  # features of the gradient below, seed 0


def test_random_features_do_not_change_between_versions():
    gradient = torch.arange(3 * 32 * 32).remainder(256).to(torch.uint8).view(1, 3, 32, 32)

    features = RandomFeatures()(gradient)

    assert features.shape == (1, 288)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features[0, :3], torch.tensor(FIRST), rtol=0, atol=2e-6)
    assert not torch.allclose(features, RandomFeatures(seed=1)(gradient), atol=1e-2)


def test_features_of_an_image_do_not_depend_on_its_batch():
    images, masks = nuts(19, seed=0)
    together = RandomFeatures()(images, masks)

    for i in (0, 7, 18):
        alone = RandomFeatures()(images[i : i + 1], masks[i : i + 1])[0]
        torch.testing.assert_close(together[i], alone, rtol=0, atol=2e-6)


def test_noise_scores_worse_than_held_out_images():
    extractor = RandomFeatures()
    mean, std = feature_statistics(extractor(nuts(12, seed=0)[0]))
    validation = standardise(extractor(nuts(3, seed=1)[0]), mean, std)
    real = standardise(extractor(nuts(12, seed=2)[0]), mean, std)
    noisy = standardise(extractor(noise(12)), mean, std)

    assert snapshot_score(real, validation) < snapshot_score(noisy, validation)
    assert mmd2_with_error(noisy, validation)[0] > 100 * abs(mmd2_with_error(real, validation)[0])


def test_images_without_the_defect_score_worse_than_images_with_it():
    extractor = RandomFeatures()
    mean, std = feature_statistics(extractor(*nuts(12, seed=0)))
    validation = standardise(extractor(*nuts(4, seed=1)), mean, std)
    _, masks = nuts(12, seed=2)
    defect_free, _ = nuts(12, seed=3, defect=None)

    score = snapshot_score(standardise(extractor(*nuts(12, seed=2)), mean, std), validation)
    assert score < snapshot_score(standardise(extractor(defect_free, masks), mean, std), validation)
    assert score < snapshot_score(standardise(extractor(*nuts(12, seed=2, defect="cut")), mean, std), validation)


def test_masks_add_features_of_the_defect_and_its_rim_only():
    images, masks = nuts(2, seed=0)
    masks = torch.zeros_like(masks)
    masks[:, 16:24, 16:24] = 1
    elsewhere = images.clone()
    elsewhere[:, :, 48:, 48:] = 255
    extractor = RandomFeatures()

    before, after = extractor(images, masks), extractor(elsewhere, masks)

    torch.testing.assert_close(before[:, :288], extractor(images), rtol=0, atol=2e-6)
    assert not torch.allclose(before[:, :288], after[:, :288], atol=1e-2)
    torch.testing.assert_close(before[:, 288:], after[:, 288:], rtol=0, atol=2e-6)


def test_an_empty_mask_gives_zeros_for_the_defect():
    images, masks = nuts(2, seed=0)
    features = RandomFeatures()(images, torch.zeros_like(masks))
    assert torch.equal(features[:, 288:], torch.zeros(2, 288))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (torch.zeros(2, 3, 32, 32), None),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), None),
        (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), None),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 1, 32, 32, dtype=torch.uint8)),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 32, 32)),
    ],
)
def test_wrong_tensors_are_refused_by_name(images, masks):
    with pytest.raises(ValueError, match=r"(images|masks) must be uint8"):
        RandomFeatures()(images, masks)


def test_digest_depends_on_the_seed():
    assert RandomFeatures().digest == RandomFeatures().digest != RandomFeatures(seed=1).digest
