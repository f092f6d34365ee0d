"""The page of `check --page`."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from defect_synth.augment.check_page import write_check_page
from defect_synth.data.layouts import index
from defect_synth.errors import OutputError
from defect_synth.product.arrangement_check import check_arrangement
from tests.fake_data import save
from tests.fake_parts import draw

VOID = {"meta", "link", "img"}


class Tags(HTMLParser):
    """Checks that all elements are closed, and counts them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def written(folder, output, lie="auto"):
    page, sheet = write_check_page(check_arrangement(index(folder), lie, for_page=True), output)
    assert (page.name, sheet.name) == ("check.html", "check.png")
    assert sorted(output.iterdir()) == [page, sheet]
    text = page.read_text("utf-8")
    assert "http" not in text
    assert "{" not in text[text.index("<h1>") : text.index("<script>")]
    return text, cv2.imread(str(sheet))


def figures(text):
    """(class, caption) of all figures."""
    found = re.findall(r'<figure tabindex=0 class="([^"]*)">.*?<figcaption>(.*?)</figcaption>', text, flags=re.DOTALL)
    return [(kind.split(), caption) for kind, caption in found]


def save_defects(folder, name, drawn):
    for number, (image, mask) in enumerate(drawn):
        save(folder / name / f"{number:03d} & <i>.png", image)
        save(folder / name / f"{number:03d} & <i>_mask.png", mask * np.uint8(255))


@pytest.fixture(scope="module")
def screws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "screw"
    images = [draw("screw", seed).image for seed in range(10)]
    images[3] = np.full_like(images[0], 60)
    for number, image in enumerate(images):
        save(folder / "good" / f"{number:03d}.png", image)
    for name in ("bent & tip", "scratch_head"):
        drawn = [draw("screw", seed, defect=name.replace(" & ", "_")) for seed in range(3)]
        save_defects(folder, name, [(one.image, one.mask) for one in drawn])
    return folder


@pytest.fixture(scope="module")
def page(screws, tmp_path_factory):
    return written(screws, tmp_path_factory.mktemp("pages") / "page")


def test_each_defect_has_a_section_with_real_and_proposed_masks_and_names_are_escaped(page):
    text, sheet = page
    tags = Tags(text).seen
    assert tags.count("section") == 2
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Good parts", "bent &amp; tip", "scratch_head"]
    assert "& <i>" not in text
    assert text.count("bent &amp; tip/000 &amp; &lt;i&gt;.png") >= 1
    # the mean and 10 good parts; two defects with two panels, 3 real and 8 proposed ones each
    assert tags.count("figure") == 11 + 2 * (2 + 3 + 8)
    assert text.count("class=plain") == 6
    assert len(re.findall(r"</span> 3 on the mean part", text)) == 2
    assert len(re.findall(r"</span> 24 on the mean part", text)) == 2
    assert sheet.shape[1] == 1480


def test_doubtful_parts_are_marked_and_last(page):
    text, sheet = page
    normals = [(kind, caption) for kind, caption in figures(text) if caption.startswith("good/")][:10]
    assert [kind == ["doubtful"] for kind, _ in normals] == [False] * 9 + [True]
    assert normals[-1][1] == "good/003.png: no part could be told from the background"
    assert "doubtful  good/003.png" in text
    red = (np.abs(sheet.astype(int) - (0, 0, 210)).sum(axis=2) < 30).sum()
    assert red > 1000
    assert "good/003.png" not in text[text.index("<section>") :]


def test_data_without_defects_and_grey_images_of_several_sizes_have_a_page(tmp_path):
    for seed in range(8):
        image = draw("bracket", seed).image[:, :, 0]
        scale = (1.0, 0.7)[seed % 2]
        save(tmp_path / "bracket" / "good" / f"{seed:03d}.png", cv2.resize(image, None, fx=scale, fy=scale))
    text, sheet = written(tmp_path / "bracket", tmp_path / "page")
    assert "There is no image of a defect" in text
    assert "<section>" not in text
    assert len(figures(text)) == 9
    assert sheet.any()


def test_textures_are_shown_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        save(
            tmp_path / "steel" / "good" / f"{number}.png", rng.integers(90, 160, (40, 60 + number, 3)).astype(np.uint8)
        )
    mask = np.zeros((40, 60), np.uint8)
    mask[10:14, 20:40] = 1
    save_defects(tmp_path / "steel", "scratch", [(rng.integers(90, 160, (40, 60, 3)).astype(np.uint8), mask)] * 2)
    text, _ = written(tmp_path / "steel", tmp_path / "page")
    assert "their poses mean nothing" in text
    assert "places mean little here" in text
    assert [caption for kind, caption in figures(text) if caption.startswith("good/")][:8] == [
        f"good/{number}.png" for number in range(8)
    ]


def test_the_page_of_one_run_is_the_page_of_the_next(screws, page, tmp_path):
    text, sheet = written(screws, tmp_path / "again")
    assert text == page[0]
    np.testing.assert_array_equal(sheet, page[1])


def test_a_folder_that_cannot_be_written_is_one_line(screws, tmp_path):
    (tmp_path / "file").write_text("")
    check = check_arrangement(index(screws), "none", for_page=True)
    with pytest.raises(OutputError, match="--page") as error:
        write_check_page(check, tmp_path / "file")
    assert "\n" not in str(error.value)
