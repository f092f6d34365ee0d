import itertools

import numpy as np
import pytest
import torch

from defect_synth.errors import DataError
from defect_synth.metrics.clustered_lpips import (
    CORRECTED,
    OFFICIAL,
    ClusterProtocol,
    FeatureEmbedding,
    clustered_distance,
    clustered_lpips,
    squared_distances,
)
from defect_synth.metrics.lpips import LPIPS
from tests.metrics.test_lpips import random_weights


class MeanColour:
    """Distance of two images: squared difference of their mean colours. Bytes enter as they are, as in LPIPS."""

    name, digest = "mean colour", "0"

    def __init__(self):
        self.seen = 0

    def embed(self, images):
        self.seen += len(images)
        signal = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images.float()
        return signal.mean(dim=(2, 3))


def plain(levels):
    """One image of 32x32 per grey level."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()


def random_images(count, seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))


def brute_force(distance, generated, real, cap, as_bytes):
    """The definition, one pair at a time."""
    clusters = [[] for _ in real]
    for image in generated:
        to_real = [distance(image, one.float() if as_bytes else one) for one in real]
        clusters[to_real.index(min(to_real))].append(image)
    scores = []
    for members in clusters:
        pairs = list(itertools.combinations(members[:cap], 2))
        scores.append(sum(distance(a, b) for a, b in pairs) / len(pairs) if pairs else 0.0)
    return sum(scores) / len(scores)


def test_literal_clusters():
    chosen = np.array([0, 2, 0, 2, 2, 1])
    pair_means = {(0, 2): 0.5, (1, 3, 4): 0.2}

    found = clustered_distance(chosen, 4, lambda rows: pair_means[tuple(rows)], CORRECTED)

    assert found.clusters == (0.5, 0.0, 0.2, 0.0)  # one member and none both count 0
    assert found.sizes == (2, 1, 3, 0)
    assert found.value == pytest.approx(0.7 / 4)
    assert found.filled == pytest.approx(0.7 / 2)
    assert found.dropped == 0


def test_members_beyond_the_cap_are_the_later_ones_and_are_counted():
    chosen = np.zeros(5, np.int64)
    seen = []
    found = clustered_distance(
        chosen, 1, lambda rows: seen.append(rows.tolist()) or 1.0, ClusterProtocol("x", 3, False)
    )
    assert seen == [[0, 1, 2]]
    assert found.sizes == (3,)
    assert found.dropped == 2


def test_equals_brute_force_with_real_lpips_features():
    lpips = LPIPS(*random_weights())
    generated, real = random_images(9, 0), random_images(3, 1)

    def distance(a, b):
        return float((lpips.embed(a[None]).double() - lpips.embed(b[None]).double()).square().sum())

    official, corrected = clustered_lpips(lpips, generated, real)

    assert official.value == pytest.approx(brute_force(distance, generated, real, 200, True), abs=1e-6)
    assert corrected.value == pytest.approx(brute_force(distance, generated, real, None, False), abs=1e-6)
    assert corrected.value > 0.01


def test_protocols_differ_where_the_value_range_of_real_images_changes_the_nearest_one():
    generated, real = plain([10, 20, 240, 250]), plain([15, 245])

    official, corrected = clustered_lpips(MeanColour(), generated, real)

    assert corrected.sizes == (2, 2)
    assert official.sizes == (4, 0)  # every signal in [-1, 1] is closer to 15 than to 245
    step = 3 * (10 / 127.5) ** 2
    assert corrected.value == pytest.approx(step, rel=1e-5)
    pairs = [3 * ((a - b) / 127.5) ** 2 for a, b in itertools.combinations((10, 20, 240, 250), 2)]
    assert official.value == pytest.approx(np.mean(pairs) / 2, rel=1e-5)


def test_protocols_differ_in_a_cluster_of_more_than_200_and_agree_in_one_of_200():
    real = plain([0])
    same, with_variety = plain([100] * 200), plain([100] * 200 + [200] * 10)

    official, corrected = clustered_lpips(MeanColour(), with_variety, real)
    assert official.value == pytest.approx(0, abs=1e-9)
    assert official.dropped == 10
    assert corrected.value == pytest.approx(3 * (100 / 127.5) ** 2 * 2000 / (210 * 209 / 2), rel=1e-5)
    official, corrected = clustered_lpips(MeanColour(), same, real)
    assert official.value == corrected.value


def test_little_memory_gives_the_same_result_with_more_passes():
    generated, real = random_images(150, 0), random_images(2, 1)
    roomy, tight = MeanColour(), MeanColour()

    expected = clustered_lpips(roomy, generated, real)
    found = clustered_lpips(tight, generated, real, memory_gib=1e-9)  # 64 vectors at a time

    for a, b in zip(expected, found, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-9)
        assert a.sizes == b.sizes
    assert roomy.seen == 150 + 2 * 2
    assert tight.seen > 300


def test_raw_signal_of_a_generator_is_not_clamped():
    real = plain([255])
    signal = torch.stack([torch.full((3, 32, 32), 1.0), torch.full((3, 32, 32), 2.0)])
    (found,) = clustered_lpips(MeanColour(), signal, real, (CORRECTED,))
    assert found.value == pytest.approx(3.0)


def test_progress_ends_at_its_total():
    calls = []
    clustered_lpips(MeanColour(), random_images(70, 0), random_images(2, 1), progress=lambda *c: calls.append(c))
    assert calls == [(32, 70), (64, 70), (70, 70)]


def test_squared_distances_agree_with_differences_for_long_vectors():
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(4, 100_000, generator=rng) / 100_000**0.5
    exact = torch.stack([(x.double() - row.double()).square().sum(dim=1) for row in x])
    torch.testing.assert_close(squared_distances(x, x), exact, rtol=0, atol=2e-7)


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="at least 1 real and 2 generated images, got 0 and 1"):
        clustered_lpips(MeanColour(), plain([1]), plain([]), (OFFICIAL,))


def test_substitute_for_lpips_has_the_name_of_its_extractor_and_compares_directions():
    class Corners:
        name, digest = "corners", "c"

        def __call__(self, images, masks=None):
            return images[:, :, 0, 0].float()

    embedding = FeatureEmbedding(Corners())
    images = plain([3, 7])
    images[1, 1:] = 0  # directions (1, 1, 1) and (1, 0, 0)

    x = embedding.embed(images)

    assert (embedding.name, embedding.digest) == ("corners", "c")
    assert float(squared_distances(x, x)[0, 1]) == pytest.approx(2 - 2 / 3**0.5, rel=1e-6)
