from __future__ import annotations

import pytest

from defect_synth.benchmark.result_store import ResultStore, file_name, settings_digest
from defect_synth.benchmark.results import GeneratorRecord

RECORD = GeneratorRecord(
    category="nut", partition="P1", generator="DFMGAN", how="trained", digest="d", about="x", seconds=1.5
)
KEY = ("nut", "P1", "real + <x>")


@pytest.fixture
def store(tmp_path):
    store = ResultStore(tmp_path / "store")
    assert not store.exists
    store.write(KEY, "settings", RECORD)
    return store


def test_a_record_is_found_under_its_key_and_settings_only(store):
    assert store.exists
    assert store.read(KEY, "settings", GeneratorRecord) == RECORD
    assert store.read(KEY, "other settings", GeneratorRecord) is None
    assert store.read(("nut", "P1", "real + x"), "settings", GeneratorRecord) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "[" * 10**5, "7", '{"settings": "settings", "record": {"category": 1}}']
)
def test_a_damaged_file_is_measured_again(store, tmp_path, content):
    [file] = (tmp_path / "store").rglob("*.json")
    file.write_text(content)
    assert store.read(KEY, "settings", GeneratorRecord) is None


def test_the_file_of_another_key_is_not_believed_by_its_name(store, tmp_path):
    [file] = (tmp_path / "store").rglob("*.json")
    store.write(("nut", "P1", "real"), "settings", RECORD)
    file.rename(file.with_name("real.json"))
    assert store.read(("nut", "P1", "real"), "settings", GeneratorRecord) is None


def test_different_texts_have_different_file_names():
    texts = ["real", "real + x", "real - x", "real/x", "..", "", "real + X", "é"]
    names = [file_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert names[0] == "real"
    assert not any("/" in name or name in ("", ".", "..") for name in names)


def test_equal_settings_have_equal_digests_whatever_the_order_of_their_fields():
    assert settings_digest({"a": 1, "b": [2]}) == settings_digest({"b": [2], "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})
