import numpy as np
import pytest
import torch

from defect_synth.benchmark.downstream.batches import TrainingMix
from defect_synth.benchmark.downstream.classifier import ClassifyConfig, train_classifier
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.nn.torchvision_import import ensure_torchvision
from tests.benchmark.squares import CLASSES, relabelled, squares

TINY = ClassifyConfig(architecture="test_resnet", steps=30, batch=12, learning_rates=(3e-3,), evaluations=2)


def short(**changes) -> ClassifyConfig:
    return TINY.model_copy(update=dict(steps=3, evaluations=1) | changes)


def losses(config: ClassifyConfig, seed: int = 0) -> list[float]:
    seen: list[float] = []
    train_classifier(TrainingMix(squares(6, 0, "a")), None, config, seed, progress=lambda s, n, v: seen.append(v))
    return seen


def test_true_labels_are_learned():
    trained = train_classifier(TrainingMix(squares(18, 0, "train")), squares(3, 2, "validation"), TINY, seed=0)
    test = squares(48, 1, "test")
    probabilities = trained.probabilities(test.images)
    assert (probabilities.argmax(1) == test.labels).mean() >= 0.9
    assert probabilities.sum(1) == pytest.approx(1)
    assert trained.classes == CLASSES
    assert [point.step for point in trained.curve] == [15, 30]
    assert trained.curve[1].train_loss < trained.curve[0].train_loss


def test_the_model_that_is_best_on_the_validation_images_is_kept():
    # Validation images whose labels are swapped like an unlearned network better than a learned one.
    validation = squares(12, 2, "validation")
    swapped = relabelled(validation, (validation.labels + 1) % 3)
    config = TINY.model_copy(update=dict(learning_rates=(1e-7, 3e-3), steps=18, evaluations=1))
    mix, test = TrainingMix(squares(18, 0, "train")), squares(48, 1, "test")
    right = train_classifier(mix, validation, config, 0)
    wrong = train_classifier(mix, swapped, config, 0)

    assert right.choice.learning_rate == 3e-3
    assert right.choice.validation_accuracy == max(point.validation_accuracy for point in right.curve)
    assert wrong.choice.learning_rate == 1e-7
    assert (right.probabilities(test.images).argmax(1) == test.labels).mean() >= 0.9
    assert (wrong.probabilities(test.images).argmax(1) == test.labels).mean() < 0.6  # its weights were kept, too


def test_without_validation_images_the_last_step_is_kept():
    trained = train_classifier(TrainingMix(squares(6, 0, "a")), None, short(steps=4, evaluations=2), 0)
    assert trained.choice.step == 4
    assert trained.choice.validation_accuracy is None


def test_shuffled_labels_give_chance():
    # Each class has every label equally often, else the classifier could learn a permutation; several shuffles,
    # because answers for one colour stand and fall together.
    train, test = squares(54, 0, "train"), squares(150, 1, "test")
    accuracies = []
    for seed in range(3):
        wrong = np.empty(54, np.int64)
        for label in range(3):
            wrong[train.labels == label] = np.random.default_rng([seed, label]).permutation(np.repeat(np.arange(3), 6))
        trained = train_classifier(TrainingMix(relabelled(train, wrong)), None, short(steps=15), seed)
        accuracies.append((trained.probabilities(test.images).argmax(1) == test.labels).mean())
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.15)


def test_same_seed_same_network_whatever_the_global_generator():
    torch.manual_seed(0)
    first = losses(short(), 4)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert losses(short(), 4) == first != losses(short(), 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_steps_does_not_depend_on_the_training_set():
    for mix in (TrainingMix(squares(6, 0, "a")), TrainingMix(squares(60, 0, "a"), squares(300, 2, "s"))):
        calls: list[int] = []
        trained = train_classifier(mix, None, short(steps=5), 0, progress=lambda s, n, v, c=calls: c.append(s))
        assert (trained.steps, calls) == (5, [1, 2, 3, 4, 5])


def test_answers_do_not_depend_on_the_other_test_images():
    trained = train_classifier(TrainingMix(squares(18, 0, "train")), None, short(steps=15), 0)
    test = squares(60, 1, "test")
    order = np.argsort(test.labels, kind="stable")
    assert trained.probabilities(test.images[order]) == pytest.approx(
        trained.probabilities(test.images)[order], abs=1e-5
    )


def test_sgd_learns_too():
    config = TINY.model_copy(update=dict(optimizer="sgd", learning_rates=(0.05,)))
    trained = train_classifier(TrainingMix(squares(18, 0, "train")), None, config, seed=0)
    test = squares(48, 1, "test")
    assert (trained.probabilities(test.images).argmax(1) == test.labels).mean() >= 0.9


def test_weights_file_is_where_training_starts(tmp_path):
    ensure_torchvision()
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet", num_classes=1000)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["conv1.0.weight" if "conv1.0.weight" in state else "conv1.weight"].fill_(0.01)
    save_file(state, tmp_path / "weights.safetensors")
    config = short(steps=1, weights=tmp_path / "weights.safetensors")
    assert losses(config) == losses(config) != losses(short(steps=1))


def test_unusable_weights_and_architectures_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*none\.pth; expected weights of test_resnet"):
        losses(short(weights=tmp_path / "none.pth"))
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors is damaged or not a safetensors file"):
        losses(short(weights=tmp_path / "broken.safetensors"))
    with pytest.raises(ConfigError, match="unknown architecture 'resnet43'; did you mean resnet"):
        losses(short(architecture="resnet43"))


def test_divergence_is_an_error_and_not_a_bad_score():
    config = TINY.model_copy(update=dict(optimizer="sgd", learning_rates=(1e20,), warmup=0.0))
    with pytest.raises(ConfigError, match=r"loss became (nan|inf) at step \d+; leave out the learning rate 1e\+20"):
        losses(config)


def test_validation_images_of_other_classes_are_named():
    with pytest.raises(DataError, match="classes differ: train crack, cut, hole; validation crack, cut, print"):
        train_classifier(TrainingMix(squares(6, 0, "a")), squares(6, 1, "b", ("crack", "cut", "print")), TINY, 0)
