"""What may name a category or a defect, which paths may be followed, and how text of strangers is shown."""

from __future__ import annotations

import unicodedata

import pytest
from pydantic import BaseModel

from defect_synth.config import Name, PathInside, Text
from defect_synth.errors import DataError, InvalidNameError
from defect_synth.names import names_in, printable, require_name, require_path_inside

NAMES = [
    "hazelnut",
    "metal_nut",
    "broken large",
    "cut-2 (deep)",
    "Kratzer für Anfänger",
    "傷",
    "a.b",
    "v1.0",
    "x" * 150,
]
BAD_NAMES = {
    "../PWNED": "it begins with a point",
    "/tmp/x": "it holds '/'",
    "a\\b": "it holds '\\\\'",
    "C:x": "it holds ':'",
    "a|b": "it holds '|'",
    "<b>": "it holds '<'",
    ".": "ends with a point",
    "..": "ends with a point",
    ".source": "it begins with a point",
    "": "it is empty",
    "  ": "it is empty",
    " a": "begins or ends with a space",
    "a ": "begins or ends with a space",
    "a.": "ends with a point",
    "\x1b[31mred": "cannot be seen",
    "a\nb": "cannot be seen",
    "\u202egnp.x": "cannot be seen",
    "a\x00": "cannot be seen",
    "caf\udce9": "cannot be seen",
    "x" * 151: "more than 150 bytes",
    "é" * 76: "more than 150 bytes",
    "NUL": "Windows reserves it",
    "com1.txt": "Windows reserves it",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_returned_as_it_is(name):
    assert require_name(name) == name
    assert require_name(unicodedata.normalize("NFD", name)[:100])


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name_is_refused_in_one_printable_line(name):
    with pytest.raises(InvalidNameError, match="cannot name a category or a defect: ") as refused:
        require_name(name, "card.json")
    text = str(refused.value)
    assert text.startswith("card.json: ")
    assert BAD_NAMES[name] in text
    assert text.isprintable()
    assert len(text) < 300
    assert isinstance(refused.value, DataError)


@pytest.mark.parametrize("path", ["a.png", "test/hole/000001.png", "gallery/P1/real.png", "a b/ü.png"])
def test_a_path_inside_is_returned_as_it_is(path):
    assert require_path_inside(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x.png", "a/../../x.png", "a/./b", "a//b", "a/", "C:/x.png", "a\\b.png", "a\n.png",
     "x" * 256, "/".join("ab" * 20 for _ in range(30)), "file:x", "~\x00"],
)  # fmt: skip
def test_a_path_that_may_lead_elsewhere_is_refused(path):
    with pytest.raises(InvalidNameError, match=r"is not a path inside this folder, such as test/hole/000001\.png"):
        require_path_inside(path)


def test_records_raise_the_same_error_and_say_where():
    class Record(BaseModel):
        category: Name
        file: PathInside = "a.png"
        about: Text = ""

    with pytest.raises(InvalidNameError, match=r"^bank\.json: '../x' cannot name"), names_in("bank.json"):
        Record(category="../x")
    with pytest.raises(InvalidNameError, match=r"^r: '/x' is not a path inside"), names_in("r"):
        Record(category="nut", file="/x")
    assert Record(category="nut", about="a\x1b[2J\nb").about == "a\\x1b[2J\\nb"


def test_text_is_shown_without_anything_that_steers_a_terminal():
    assert printable("plain text, ünïcode and 傷") == "plain text, ünïcode and 傷"
    assert printable("a\x1b]0;title\x07b\r\n\tc") == "a\\x1b]0;title\\x07b\\r\\n\\tc"
    assert printable("\u202eevil\u2066 \u200b\u2028") == "\\u202eevil\\u2066 \\u200b\\u2028"
    assert printable("caf\udce9") == "caf\\udce9"
    assert printable("C:\\new") == "C:\\new"
    assert printable("no\xa0break") == "no\xa0break"
