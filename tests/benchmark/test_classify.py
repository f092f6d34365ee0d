import numpy as np
import pytest
import torch

from defect_synth._compat import ensure_torchvision
from defect_synth.benchmark.classify import (
    BatchSampler,
    ClassifyConfig,
    LabelledArrays,
    augment,
    train_and_score,
)
from defect_synth.errors import CheckpointError, ConfigError, DataError

CLASSES = ("crack", "cut", "hole")
SIZE = 32
TINY = ClassifyConfig(architecture="test_resnet", steps=40, batch=16, learning_rate=3e-3)


def easy(count: int, seed: int, prefix: str, classes: tuple[str, ...] = CLASSES) -> LabelledArrays:
    """Grey noise with a square whose colour is the label: red, green or blue."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(classes)
    images = rng.integers(60, 120, (count, SIZE, SIZE, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(0, SIZE - 12, 2)
        image[top : top + 12, left : left + 12, label % 3] = 250
    return LabelledArrays(
        images, labels.astype(np.int64), classes, tuple(f"{prefix}/{i:03d}.png" for i in range(count))
    )


def relabelled(arrays: LabelledArrays, labels: np.ndarray) -> LabelledArrays:
    return LabelledArrays(arrays.images, labels.astype(np.int64), arrays.classes, arrays.names)


def test_true_labels_are_learned_and_the_score_adds_up():
    test = easy(48, 1, "test")
    score = train_and_score(easy(18, 0, "train"), test, TINY, seed=0)

    assert score.accuracy >= 0.9
    assert score.accuracy == np.mean(score.predictions == test.labels)
    assert score.confusion.sum(1).tolist() == [16, 16, 16]
    assert np.trace(score.confusion) == (score.predictions == test.labels).sum()
    assert score.confusion[0, 2] == ((test.labels == 0) & (score.predictions == 2)).sum()
    assert score.recall["cut"] == score.confusion[1, 1] / 16
    assert score.steps == 40


def test_shuffled_labels_give_chance():
    # If anything of the test labels leaked into training, this would be above chance. The labels are shuffled so that
    # each shown class has every label equally often, else the classifier could learn a permutation; several shuffles,
    # because answers for one colour stand and fall together.
    train, test = easy(54, 0, "train"), easy(150, 1, "test")
    accuracies = []
    for seed in range(3):
        wrong = np.empty(54, np.int64)
        for label in range(3):
            wrong[train.labels == label] = np.random.default_rng([seed, label]).permutation(np.repeat(np.arange(3), 6))
        short = TINY.model_copy(update=dict(steps=15))
        accuracies.append(train_and_score(relabelled(train, wrong), test, short, seed).accuracy)
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.15)


def test_same_seed_same_predictions_and_another_seed_another_network():
    train, test = easy(18, 0, "train"), easy(60, 1, "test")
    short = TINY.model_copy(update=dict(steps=3))
    losses: dict[int, list[float]] = {}
    for run, seed in enumerate((4, 4, 5)):
        torch.manual_seed(run)  # the global generator must not matter
        losses[run] = []
        score = train_and_score(train, test, short, seed, progress=lambda s, n, v, run=run: losses[run].append(v))
        if run == 0:
            first = score
        if run == 1:
            assert np.array_equal(score.predictions, first.predictions)
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train_and_score(easy(6, 0, "a"), easy(6, 1, "b"), TINY.model_copy(update=dict(steps=1)), seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_steps_does_not_depend_on_the_training_set():
    short = TINY.model_copy(update=dict(steps=5))
    seen = []
    for train, synthetic in ((easy(6, 0, "a"), None), (easy(60, 0, "a"), easy(300, 2, "s"))):
        calls: list[int] = []
        score = train_and_score(
            train, easy(6, 1, "b"), short, 0, synthetic=synthetic, progress=lambda s, n, v, calls=calls: calls.append(s)
        )
        seen.append((score.steps, calls))
    assert seen[0] == seen[1] == (5, [1, 2, 3, 4, 5])


def test_answers_do_not_depend_on_the_other_test_images():
    short = TINY.model_copy(update=dict(steps=15))
    train, test = easy(18, 0, "train"), easy(60, 1, "test")
    order = np.argsort(test.labels, kind="stable")  # batches of one label each, where they were mixed
    ordered = LabelledArrays(test.images[order], test.labels[order], CLASSES, test.names)
    mixed = train_and_score(train, test, short, 0).predictions
    assert np.array_equal(train_and_score(train, ordered, short, 0).predictions, mixed[order])


def test_arms_see_the_same_labels_and_the_share_is_kept():
    real, synthetic = easy(9, 0, "real"), easy(90, 1, "synthetic")
    synthetic.images[:] = 7
    config = ClassifyConfig(batch=10, synthetic_share=0.3)
    alone, mixed = BatchSampler(real, None, config), BatchSampler(real, synthetic, config)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    for _ in range(20):
        _, labels_alone, generated_alone = alone.draw(generators[0])
        images, labels, generated = mixed.draw(generators[1])
        assert torch.equal(labels, labels_alone)
        assert not generated_alone.any()
        assert int(generated.sum()) == 3
        assert torch.equal((images == 7).flatten(1).all(1), generated)


def test_drawn_images_have_the_drawn_label():
    arrays = easy(30, 0, "real")
    by_bytes = {image.tobytes(): int(label) for image, label in zip(arrays.images, arrays.labels, strict=True)}
    sampler = BatchSampler(arrays, None, ClassifyConfig(batch=64))
    images, labels, _ = sampler.draw(torch.Generator().manual_seed(0))
    assert [by_bytes[image.numpy().tobytes()] for image in images] == labels.tolist()
    assert len({image.numpy().tobytes() for image in images}) > 20


def test_a_label_without_generated_images_stays_real():
    real, synthetic = easy(9, 0, "real"), easy(30, 1, "synthetic")
    only_first = relabelled(synthetic, np.zeros(30))
    _, labels, generated = BatchSampler(real, only_first, ClassifyConfig(batch=32, synthetic_share=1)).draw(
        torch.Generator().manual_seed(0)
    )
    assert torch.equal(generated, labels == 0)
    assert 0 < int(generated.sum()) < 32


@pytest.mark.parametrize(("sampling", "share"), [("balanced", 1 / 3), ("proportional", 20 / 30)])
def test_sampling_sets_how_frequent_a_label_is(sampling, share):
    arrays = relabelled(easy(30, 0, "real"), np.repeat([0, 1, 2], [20, 5, 5]))
    sampler = BatchSampler(arrays, None, ClassifyConfig(batch=2000, sampling=sampling))
    _, labels, _ = sampler.draw(torch.Generator().manual_seed(0))
    assert float((labels == 0).float().mean()) == pytest.approx(share, abs=0.04)


def test_augmentation_reaches_all_eight_orientations_and_nothing_else():
    image = torch.from_numpy(easy(1, 0, "a").images)
    expected = {
        view.numpy().tobytes() for k in range(4) for view in (image.rot90(k, (1, 2)), image.rot90(k, (1, 2)).flip(2))
    }
    views = augment(image.repeat(200, 1, 1, 1), ClassifyConfig(brightness=0), torch.Generator().manual_seed(0))
    assert {view[None].numpy().tobytes() for view in views} == expected


def test_augmentation_of_oblong_images_keeps_their_shape():
    images = torch.randint(256, (16, 8, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert augment(images, ClassifyConfig(), torch.Generator().manual_seed(0)).shape == images.shape


def test_brightness_stays_within_its_bounds():
    images = torch.full((200, 4, 4, 3), 100, dtype=torch.uint8)
    config = ClassifyConfig(brightness=0.2, flip=False, rotate90=False)
    values = augment(images, config, torch.Generator().manual_seed(0)).flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert 80 <= int(values.min()) < 85
    assert 115 < int(values.max()) <= 120
    white = augment(torch.full_like(images, 255), config, torch.Generator().manual_seed(0))
    assert int(white.min()) >= 203  # clamped, not wrapped around


def test_sgd_learns_too():
    config = TINY.model_copy(update=dict(optimizer="sgd", learning_rate=0.05))
    assert train_and_score(easy(18, 0, "train"), easy(48, 1, "test"), config, seed=0).accuracy >= 0.9


def test_weights_file_is_where_training_starts(tmp_path):
    ensure_torchvision()
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet", num_classes=1000)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["conv1.0.weight" if "conv1.0.weight" in state else "conv1.weight"].fill_(0.01)
    save_file(state, tmp_path / "weights.safetensors")
    config = TINY.model_copy(update=dict(steps=1, weights=tmp_path / "weights.safetensors"))
    losses: list[float] = []
    for options in (config, config, config.model_copy(update=dict(weights=None))):
        train_and_score(easy(6, 0, "a"), easy(6, 1, "b"), options, 0, progress=lambda s, n, v: losses.append(v))
    assert losses[0] == losses[1] != losses[2]


def test_unusable_weights_and_architectures_are_named(tmp_path):
    sets = easy(6, 0, "a"), easy(6, 1, "b")
    with pytest.raises(CheckpointError, match="no weights file"):
        train_and_score(*sets, TINY.model_copy(update=dict(weights=tmp_path / "none.pth")), 0)
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors does not fit test_resnet"):
        train_and_score(*sets, TINY.model_copy(update=dict(weights=tmp_path / "broken.safetensors")), 0)
    with pytest.raises(ConfigError, match="unknown architecture 'resnet43'; did you mean resnet"):
        train_and_score(*sets, TINY.model_copy(update=dict(architecture="resnet43")), 0)


def test_divergence_is_an_error_and_not_a_bad_score():
    config = TINY.model_copy(update=dict(optimizer="sgd", learning_rate=1e20, warmup=0.0))
    with pytest.raises(ConfigError, match=r"loss became (nan|inf) at step \d+; lower learning_rate"):
        train_and_score(easy(18, 0, "train"), easy(6, 1, "test"), config, seed=0)


def test_sets_that_do_not_fit_are_named():
    train, test = easy(6, 0, "a"), easy(6, 1, "b")
    with pytest.raises(DataError, match="classes differ: train crack, cut, hole; test crack, cut, print"):
        train_and_score(train, easy(6, 1, "b", ("crack", "cut", "print")), TINY, 0)
    small = LabelledArrays(test.images[:, :16], test.labels, test.classes, test.names)
    with pytest.raises(DataError, match=r"train images are \(32, 32\), test images \(16, 32\)"):
        train_and_score(train, small, TINY, 0)
    with pytest.raises(DataError, match="no training image of hole"):
        train_and_score(relabelled(train, np.arange(6) % 2), test, TINY, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(images=np.zeros((2, 4, 4), np.uint8)), r"images must be uint8 \[N, H, W, 3\]"),
        (dict(labels=np.zeros(3, np.int64)), r"labels must be int64 \[2\]"),
        (dict(labels=np.array([0, 5])), r"labels must be 0\.\.2, got 0\.\.5"),
        (dict(names=("a", "a")), "expected 2 different names, got 1"),
        (dict(masks=np.zeros((2, 5, 4), np.uint8)), r"masks must be uint8 \[2, 4, 4\]"),
    ],
)
def test_arrays_check_themselves(change, message):
    fine = dict(images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.array([0, 1]), classes=CLASSES, names=("a", "b"))
    LabelledArrays(**fine)
    with pytest.raises(DataError, match=message):
        LabelledArrays(**(fine | change))
