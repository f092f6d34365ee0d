import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from defect_synth.data.folder_cache import FolderCache
from defect_synth.errors import OutputError


def test_content_is_found_again_by_another_cache_object_on_the_same_folder(tmp_path):
    FolderCache(tmp_path, suffix=".bin").put(["digest", 1], b"content")
    again = FolderCache(tmp_path, suffix=".bin")
    assert again.get(["digest", 1]) == b"content"
    assert again.get(["digest", 2]) is None


def test_the_order_of_names_in_a_key_does_not_matter(tmp_path):
    cache = FolderCache(tmp_path, suffix=".bin")
    cache.put({"a": 1, "b": 2}, b"content")
    assert cache.get({"b": 2, "a": 1}) == b"content"


def test_another_version_does_not_find_old_content(tmp_path):
    FolderCache(tmp_path, suffix=".bin", version=1).put("key", b"old")
    assert FolderCache(tmp_path, suffix=".bin", version=2).get("key") is None


@pytest.mark.parametrize("content", [b"", b"some content of a file"])
def test_a_file_that_was_cut_short_or_changed_counts_as_missing(tmp_path, content):
    cache = FolderCache(tmp_path, suffix=".bin")
    cache.put("key", content)
    whole = cache.path("key").read_bytes()
    assert cache.get("key") == content
    for damaged in (b"", whole[:-1], whole[1:], bytes([whole[0] ^ 1]) + whole[1:], whole + b"\n"):
        cache.path("key").write_bytes(damaged)
        assert cache.get("key") is None
    cache.put("key", content)
    assert cache.get("key") == content


def test_threads_that_store_the_same_key_leave_one_whole_file(tmp_path):
    cache = FolderCache(tmp_path, suffix=".bin")
    content = bytes(1 << 20)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.put("key", content), range(32)))
    assert cache.get("key") == content
    assert os.listdir(cache.path("key").parent) == [cache.path("key").name]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    cache = FolderCache(tmp_path / "taken", suffix=".bin")
    assert cache.get("key") is None
    with pytest.raises(OutputError, match="taken"):
        cache.put("key", b"content")


def test_the_file_of_another_key_is_not_believed_by_its_name(tmp_path):
    cache = FolderCache(tmp_path, suffix=".bin")
    cache.put("a", b"content of a")
    cache.path("b").parent.mkdir(exist_ok=True)
    os.rename(cache.path("a"), cache.path("b"))
    assert cache.get("b") is None
    cache.put("b", b"content of b")
    assert cache.get("b") == b"content of b"


def test_a_folder_in_the_place_of_a_file_counts_as_missing(tmp_path):
    cache = FolderCache(tmp_path, suffix=".bin")
    cache.path("key").mkdir(parents=True)
    assert cache.get("key") is None
    with pytest.raises(OutputError, match=cache.path("key").name):
        cache.put("key", b"content")
