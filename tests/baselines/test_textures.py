import numpy as np

from defect_synth.baselines.textures import augmented_texture, procedural_texture


def rng(seed=0):
    return np.random.default_rng(seed)


def test_textures_are_varied_and_three_changes_change_them():
    made = [procedural_texture(32, rng(seed)) for seed in range(30)]
    assert all(t.shape == (32, 32, 3) and t.dtype == np.uint8 and t.std() > 1 for t in made)
    assert len({t.tobytes() for t in made}) == 30
    assert np.array_equal(made[4], procedural_texture(32, rng(4)))
    after = [augmented_texture(t, rng(i)) for i, t in enumerate(made)]
    assert all(a.shape == t.shape and a.dtype == np.uint8 for a, t in zip(after, made, strict=True))
    assert sum(np.array_equal(a, t) for a, t in zip(after, made, strict=True)) == 0
