"""The networks give the stored numbers of the plain implementation: weights, inputs and losses follow from formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tests.parity import reference_values


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(reference_values.VALUES) as file:
        return dict(file)


@pytest.fixture(scope="module", params=["ours", "plain"])
def computed(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """By the networks that the package runs, and by the plain implementation itself."""
    plain = request.param == "plain"
    with reference_values.float64():
        nets = reference_values.networks()
        if plain:
            nets = {name: reference_values.reference.reference_of(network) for name, network in nets.items()}
        return reference_values.compute(nets, plain)


def test_outputs_losses_and_gradients_are_the_stored_ones(computed, stored):
    assert computed.keys() == stored.keys()
    for name, expected in stored.items():
        largest = np.abs(expected).max()
        assert largest > 1e-6, name  # nothing is compared with zeros
        np.testing.assert_allclose(computed[name], expected, rtol=1e-7, atol=1e-7 * largest, err_msg=name)


def test_the_mask_of_the_stored_sample_is_neither_empty_nor_full(stored):
    shares = (stored["mask_logits"] >= 0).mean(axis=(1, 2, 3))
    assert ((shares > 0.05) & (shares < 0.95)).all(), shares
    inside = (stored["mask_logits"] >= 0).any()
    assert inside
    assert (stored["image"] != stored["clean"]).any()


def test_formulas_have_the_variance_of_normal_draws():
    values = reference_values.formula(64, 64, start=1.0)
    assert float(values.mean()) == pytest.approx(0, abs=0.05)
    assert float(values.var()) == pytest.approx(1, abs=0.05)
