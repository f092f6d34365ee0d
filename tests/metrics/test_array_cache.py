import pytest
import torch

from defect_synth.metrics.array_cache import ArrayCache


def test_arrays_are_computed_once_and_found_again_by_another_cache_object(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": torch.arange(3.0)}

    first = ArrayCache(tmp_path).get_or_compute(["key", 1], ["x"], 3, compute)
    second = ArrayCache(tmp_path).get_or_compute(["key", 1], ["x"], 3, compute)

    assert len(calls) == 1
    assert first["x"].tolist() == second["x"].tolist() == [0, 1, 2]
    assert ArrayCache(tmp_path).get(["key", 2], ["x"]) is None


def test_a_damaged_file_is_computed_again(tmp_path):
    cache = ArrayCache(tmp_path)
    cache.put("key", {"x": torch.ones(4)})
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    assert cache.get("key", ["x"]) is None
    assert cache.get_or_compute("key", ["x"], None, lambda: {"x": torch.zeros(1)})["x"].tolist() == [0]
    assert cache.get("key", ["x"])["x"].tolist() == [0]


def test_without_a_folder_nothing_is_stored():
    cache = ArrayCache(None)
    cache.put("key", {"x": torch.ones(1)})
    assert cache.get("key", ["x"]) is None


@pytest.mark.parametrize("stored", [{}, {"y": torch.ones(4)}, {"x": torch.ones(3)}, {"x": torch.tensor(1.0)}])
def test_arrays_of_other_names_or_lengths_are_computed_again(stored, tmp_path):
    cache = ArrayCache(tmp_path)
    cache.put("key", stored)
    assert cache.get_or_compute("key", ["x"], 4, lambda: {"x": torch.zeros(4)})["x"].tolist() == [0, 0, 0, 0]
    assert cache.get("key", ["x"], 4) is not None


def test_content_that_is_no_file_of_arrays_is_computed_again(tmp_path):
    cache = ArrayCache(tmp_path)
    cache._files.put("key", b"no safetensors")
    assert cache.get("key", ["x"]) is None
