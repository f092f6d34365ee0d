"""Seeded damage to bytes, to JSON, to safetensors files and to folders.

Every function takes a `random.Random` and draws everything from it, so a seed is enough to see a case again. Values
are those that parsers fall for: no number, too large a number, other types, names that are paths or hold control
characters.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

BESIDE = Path(tempfile.gettempdir()) / "defect-synth-fuzz-beside"
"""An absolute path among the names; nothing may ever be written there."""
NAMES = (
    "", ".", "..", "../beside", "../../beside", str(BESIDE), "a/b", "a\\b", "C:\\x", "\x1b[31mred\x1b[0m", "two\nlines",
    "a\rb", "nul\x00", "x" * 300, "cafe\u0301", "\u202etxt", "good", "combined", "{category}", "%s", "*", "\ud800",
    " ", "con", "~", "-o", "$HOME", "<b>", "'", '"', "\x7f", "\x9b31m",
)  # fmt: skip
RAW = {  # written into the text as they are, since `json.dumps` cannot
    "1e400": "1e400", "-1e400": "-1e400", "NaN": "NaN", "Infinity": "Infinity", "5000 digits": "9" * 5000,
    "1000 deep": "[" * 1000 + "]" * 1000, "100000 deep": "[" * 100_000 + "]" * 100_000,
    "1000 objects deep": '{"a":' * 1000 + "1" + "}" * 1000,
}  # fmt: skip
NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    255,
    256,
    65536,
    10**9,
    -(10**9),
    2**31,
    2**32,
    2**53,
    2**63,
    2**64,
    10**30,
    0.5,
    -0.5,
    1e-300,
    1e300,
)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    "",
    "0",
    [0],
    [[]],
    [None],
    {"a": 1},
    "x" * 200_000,
    list(range(3000)),
)
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


# ---------------------------------------------------------------------------------------------------------------- bytes


def damage_bytes(rng: Random, data: bytes) -> bytes:
    """Some bytes flipped, removed, repeated, moved, or replaced by numbers that lengths are compared with."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_BYTE_CHANGES)(rng, data)
    return data


def _flip(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(min(len(data), rng.choice((1, 1, 2, 8, 64)))):
        changed[_place(rng, changed)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _remove(rng: Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.randint(1, 32) :]


def _repeat(rng: Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at : at + rng.randint(1, 64)] * rng.choice((2, 3, 100)) + data[at:]


def _insert(rng: Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.randbytes(rng.randint(1, 16)) + data[at:]


def _integer(rng: Random, data: bytes) -> bytes:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("big", "little"))
    value = rng.choice(_INTEGERS) & ((1 << 8 * size) - 1)
    at = _place(rng, data)
    return data[:at] + value.to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def _splice(rng: Random, data: bytes) -> bytes:
    a, b = _place(rng, data), _place(rng, data)
    return data[:a] + data[b:]


def _nothing(rng: Random, data: bytes) -> bytes:
    return rng.choice((b"", b"\x00", b"\xff\xfe", b"\x00" * 4096, data + b"\x00" * rng.randint(1, 4096)))


_BYTE_CHANGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flip, _flip, _flip, _cut, _remove, _repeat, _insert, _integer, _integer, _splice, _nothing,
)  # fmt: skip


def _place(rng: Random, data: bytes | bytearray) -> int:
    """A place in data, most often among the first bytes, where headers are."""
    return rng.randrange(max(1, min(len(data), rng.choice((64, 512, len(data) + 1)))))


# ----------------------------------------------------------------------------------------------------------------- JSON


def damage_json(rng: Random, text: str) -> tuple[str, str]:
    """JSON with hostile values in place of some of its own; and what was done, in words."""
    value, raw, done = json.loads(text), [], []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            break
        holder, key = rng.choice(places)
        how = rng.choice(("value", "value", "value", "value", "remove", "rename", "repeat"))
        done.append(f"{how} {key!r}")
        if how == "remove":
            del holder[key]
        elif how == "rename" and isinstance(holder, dict):
            holder[rng.choice((*NAMES, "format", "kind"))] = holder.pop(key)
        elif how == "repeat" and isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            name = rng.choice((*RAW, *[""] * 24))
            new = f"@raw {len(raw)}@" if name else hostile_value(rng, holder[key])
            raw += [(f'"{new}"', RAW[name])] if name else []
            done[-1] += f" = {name or repr(new)[:60]}"
            holder[key] = new
    text = json.dumps(value)
    for mark, replacement in raw:
        text = text.replace(mark, replacement)
    return text, ", ".join(done)


def hostile_value(rng: Random, old: Any) -> Any:
    """A value in place of `old`: of its own type most often, since other types are refused at once."""
    own: tuple[Any, ...] = NUMBERS
    if isinstance(old, str):
        own = NAMES
    elif isinstance(old, list):
        own = ([], old[:1], old * 2, old * 1000 if len(old) < 100 else old, old[::-1], [old])
    elif isinstance(old, dict):
        own = ({}, {**old, "more": 1}, [old], {name: value for name, value in zip(NAMES, old.values(), strict=False)})
    return rng.choice(rng.choice((own, own, own, NAMES, NUMBERS, OTHERS)))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every value inside a JSON value."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def damage_lines(rng: Random, text: str) -> tuple[str, str]:
    """The same for a file with one JSON value in each line; lines may also be gone, doubled or exchanged."""
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    how = rng.choice(("value", "value", "value", "value", "remove", "double", "exchange", "cut"))
    done = f"{how} line {at}"
    if how == "value":
        lines[at], what = damage_json(rng, lines[at])
        done += f": {what}"
    elif how == "remove":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[at])
    elif how == "exchange":
        rng.shuffle(lines)
    else:
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    return "\n".join(lines) + "\n", done


# ----------------------------------------------------------------------------------------------------------------- text


def damage_text(rng: Random, text: str, separators: str = ",;\t\n=\"'[]") -> str:
    """Fields of a table or of settings replaced, removed or repeated."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        starts = [0, *(i + 1 for i, letter in enumerate(text) if letter in separators), len(text) + 1]
        number = rng.randrange(len(starts) - 1)
        start, stop = starts[number], max(starts[number], starts[number + 1] - 1)
        words = (
            *NAMES,
            *map(str, NUMBERS),
            *RAW,
            "é",
            "\ufeff",
            '"',
            "'",
            "x" * 200_000,
            "[",
            "]",
            "{",
            "=",
            ",",
            "nan",
            "inf",
        )
        new = rng.choice((rng.choice(words), "", text[start:stop] * 2, rng.choice(words) + text[start:stop]))
        text = text[:start] + new + text[stop:]
    return text


# ---------------------------------------------------------------------------------------------------------- safetensors


def damage_safetensors(rng: Random, path: Path, key: str = "defect_synth") -> str:
    """A card, a header or tensors of a checkpoint changed, the rest kept; what was done, in words."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    how = rng.choice(("card", "card", "card", "card", "entry", "numbers", "bytes"))
    done = how
    if how == "bytes":
        path.write_bytes(damage_bytes(rng, data))
        return done
    if how == "card":
        header["__metadata__"][key], done = damage_json(rng, header["__metadata__"][key])
        text = json.dumps(header)
    elif how == "entry":
        text, done = damage_json(rng, json.dumps(header))
    else:
        name = rng.choice([name for name in header if name != "__metadata__"])
        start, stop = header[name]["data_offsets"]
        new = rng.choice((float("nan"), float("inf"), -float("inf"), 3e38, 0.0))
        body[start:stop] = (struct.pack("<f", new) * (1 + (stop - start) // 4))[: stop - start]
        done, text = f"{name} = {new}", json.dumps(header)
    encoded = text.encode("utf-8", "surrogatepass")
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + body)
    return done


# -------------------------------------------------------------------------------------------------------------- folders


def damage_folder(rng: Random, root: Path) -> str:
    """A file or folder below `root` renamed, removed, doubled, or replaced by a thing of another kind."""
    places = sorted(root.rglob("*"))
    if not places:
        return "nothing left"
    place = rng.choice(places)
    how = rng.choice(_FOLDER_CHANGES)
    how(rng, place, rng.choice(places))
    return f"{how.__name__.strip('_')} {place.relative_to(root)}"


def _away(place: Path) -> None:
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()


def _gone(rng: Random, place: Path, other: Path) -> None:
    _away(place)


def _renamed(rng: Random, place: Path, other: Path) -> None:
    name = rng.choice([n for n in NAMES if n.strip(".") and "/" not in n and "\x00" not in n and "\ud800" not in n])
    name = (name + rng.choice(("", place.suffix)))[:120]
    if not place.with_name(name).exists():
        place.rename(place.with_name(name))


def _doubled(rng: Random, place: Path, other: Path) -> None:
    to = place.with_name(
        rng.choice((place.name.upper(), place.stem, f"{place.stem} copy{place.suffix}", place.stem + ".jpg"))
    )
    if to.exists():
        return
    with suppress(OSError, shutil.Error):  # a pipe or a link to nowhere, from a change before this one
        if place.is_dir() and not place.is_symlink():
            shutil.copytree(place, to, symlinks=True)
        else:
            shutil.copy(place, to, follow_symlinks=False)


def _dangling(rng: Random, place: Path, other: Path) -> None:
    _away(place)
    inside = "out" in place.parts  # links in an output folder are followed: somebody has put them there on purpose
    place.symlink_to(rng.choice(("nowhere", "/nowhere", place.name, *(() if inside else (".", "..")))))


def _pipe(rng: Random, place: Path, other: Path) -> None:
    _away(place)
    os.mkfifo(place)


def _folder(rng: Random, place: Path, other: Path) -> None:
    _away(place)
    place.mkdir()


def _file(rng: Random, place: Path, other: Path) -> None:
    _away(place)
    place.write_bytes(rng.choice((b"", b"text", b"\x89PNG\r\n\x1a\n")))


def _exchanged(rng: Random, place: Path, other: Path) -> None:
    if place.is_file() and other.is_file():
        a, b = place.read_bytes(), other.read_bytes()
        place.write_bytes(b)
        other.write_bytes(a)


_FOLDER_CHANGES = (_gone, _renamed, _renamed, _doubled, _dangling, _pipe, _folder, _file, _exchanged)
