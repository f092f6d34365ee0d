import torch

from defect_synth.metrics.array_cache import ArrayCache


def test_arrays_are_computed_once_and_found_again_by_another_cache_object(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": torch.arange(3.0)}

    first = ArrayCache(tmp_path).get_or_compute(["key", 1], compute)
    second = ArrayCache(tmp_path).get_or_compute(["key", 1], compute)

    assert len(calls) == 1
    assert first["x"].tolist() == second["x"].tolist() == [0, 1, 2]
    assert ArrayCache(tmp_path).get(["key", 2]) is None


def test_a_damaged_file_is_computed_again(tmp_path):
    cache = ArrayCache(tmp_path)
    cache.put("key", {"x": torch.ones(4)})
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    assert cache.get("key") is None
    assert cache.get_or_compute("key", lambda: {"x": torch.zeros(1)})["x"].tolist() == [0]
    assert cache.get("key")["x"].tolist() == [0]


def test_without_a_folder_nothing_is_stored():
    cache = ArrayCache(None)
    cache.put("key", {"x": torch.ones(1)})
    assert cache.get("key") is None
