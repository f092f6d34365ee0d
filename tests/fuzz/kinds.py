"""Every kind of file that is read: how a valid one is made, how it is damaged, and which commands read it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from tests.benchmark.fake_results import write_example
from tests.dfmgan.official.pickles import content, dumps, networks
from tests.dfmgan.test_synthesizer import write_run
from tests.fake_data import write_coco, write_csv, write_folders, write_mvtec, write_visa
from tests.forked import command, run_forked
from tests.fuzz.mutations import (
    NAMES,
    NUMBERS,
    damage_bytes,
    damage_folder,
    damage_json,
    damage_lines,
    damage_safetensors,
    damage_text,
)

Call = Callable[[], object]
SMALL = {"defects": {"hole": 2, "cut": 2}, "good": 3, "size": 32, "good_test": 1}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: Writes valid files into an empty folder.
        damage: Changes a copy of them; returns what was done, in words.
        read: What reads the copy, in order; the copy is the working directory, and `out` is the only folder to write.
    """

    make: Callable[[Path], object]
    damage: Callable[[Random, Path], str]
    read: Callable[[Random], Sequence[Call]]


# ---------------------------------------------------------------------------------------------------------- valid files


def _cli(*arguments: str) -> None:
    """Run a command in a child, so that this process never trains: what it starts for that does not survive a fork."""
    *rest, folder = arguments
    ended = run_forked(command(*rest), Path(folder))
    assert ended.code == 0, ended.err


def data(root: Path) -> None:
    write_mvtec(root / "data", **SMALL)


def images_of_every_format(root: Path) -> None:
    """Normal images as PNG of several depths, JPEG with an orientation, TIFF, BMP, WebP and PPM."""
    home = write_mvtec(root / "data", **(SMALL | {"good": 9}))
    files = sorted((home / "train" / "good").iterdir())
    turned = Image.Exif()
    turned[0x0112] = 6
    written = (
        ("L", ".png", {}), ("P", ".png", {}), ("RGBA", ".png", {}), ("I;16", ".png", {}),
        ("RGB", ".jpg", {"exif": turned}),
        ("CMYK", ".jpg", {}), ("RGB", ".tiff", {"compression": "tiff_lzw"}), ("RGB", ".bmp", {}), ("RGB", ".webp", {}),
    )  # fmt: skip
    for file, (mode, ending, options) in zip(files, written, strict=True):
        with Image.open(file) as image:
            pixels = image.convert("RGB")
        if mode == "I;16":
            converted = Image.fromarray(np.asarray(pixels.convert("L")).astype(np.uint16) * 257)
        else:
            converted = pixels.convert(mode)
        file.unlink()
        converted.save(file.with_suffix(ending), **options)


def bank(root: Path) -> None:
    data(root)
    _cli("bank", "data/nut", "--real", "-o", "bank", str(root))
    Image.new("RGB", (48, 40), (190, 140, 90)).save(root / "image.png")


def generated(root: Path) -> None:
    bank(root)
    _cli("generate", "bank", "-o", "made", "--count", "2", str(root))


def half_generated(root: Path) -> None:
    """A folder in which `generate` was stopped: a journal, and no index."""
    bank(root)
    _cli("generate", "bank", "-o", "out", "--count", "2", "--shard", "1/2", str(root))


def measured(root: Path) -> None:
    """Figures and the cache that they were computed from; only the cache will be damaged."""
    generated(root)
    _cli(*MEASURE, str(root))
    (root / "out" / "q.json").unlink()


MEASURE = ("quality", "made", "--data", "data/nut", "--count", "2", "--lpips-count", "2", "-o", "out/q.json")


def painter(root: Path) -> None:
    from defect_synth.demo.models import shipped_painter

    shutil.copy(shipped_painter(), root / "model.safetensors")
    Image.new("RGB", (96, 96), (190, 140, 90)).save(root / "image.png")


def dfmgan(root: Path) -> None:
    write_run(root / "run")


def bundle(root: Path) -> None:
    write_run(root / "run", defects=("hole",))  # random weights of two defects share no backbone
    _cli("pack", "run", "-o", "set.safetensors", str(root))
    shutil.rmtree(root / "run")


def baseline(root: Path) -> None:
    """A finished run of a system that changes normal images, so that data, partition and settings are read again."""
    data(root)
    short = ("stage.total_kimg=0.004", "channels=4", "blocks=1", "critic_steps=1", "stage.batch=2")
    changes = [part for item in short for part in ("--set", item)]
    _cli("train", "data/nut", "-o", "run", "--method", "defect-gan", "--resolution", "32", *changes, str(root))


def run_folder(root: Path) -> None:
    """A finished run of TINY, to be resumed."""
    data(root)
    _cli("train", "data/nut", "-o", "out", *TINY, str(root))
    for name in ("tensorboard", "samples"):
        for folder in list((root / "out").rglob(name)):
            shutil.rmtree(folder)


TINY = ("--method", "dfmgan", "--preset", "TINY", "--defects", "hole", "--set", "pretrain.total_kimg=0.008",
        "--set", "transfer.total_kimg=0.008", "--set", "pretrain.batch=4", "--set", "transfer.batch=4",
        "--set", "pretrain.micro_batch=4", "--set", "transfer.micro_batch=4", "--device", "cpu")  # fmt: skip


def snapshot(root: Path) -> None:
    (root / "snapshot.pkl").write_bytes(dumps(content(networks(stage=2))))


def results(root: Path) -> None:
    write_example(root / "out")


def protocol(root: Path) -> None:
    data(root)
    source = Path(__file__).parents[2] / "defect_synth" / "benchmark" / "protocols" / "quick.toml"
    shutil.copy(source, root / "protocol.toml")


def weights(root: Path) -> None:
    from safetensors.torch import save_file

    tensors = {f"layer{i}.weight": torch.full((4, 3), float(i)) for i in range(3)}
    torch.save(tensors, root / "weights.pth")
    save_file(tensors, root / "weights.safetensors")


# --------------------------------------------------------------------------------------------------------------- damage


def one_file(pattern: str) -> Callable[[Random, Path], str]:
    """Damage to the bytes of one of the files that a pattern finds."""

    def damage(rng: Random, root: Path) -> str:
        file = rng.choice(sorted(path for path in root.glob(pattern) if path.is_file()))
        file.write_bytes(damage_bytes(rng, file.read_bytes()))
        return f"bytes of {file.relative_to(root)}"

    return damage


def text_of(pattern: str) -> Callable[[Random, Path], str]:
    def damage(rng: Random, root: Path) -> str:
        file = rng.choice(sorted(root.glob(pattern)))
        file.write_bytes(damage_text(rng, file.read_text("utf-8")).encode("utf-8", "surrogatepass"))
        return f"text of {file.relative_to(root)}"

    return damage


def json_of(pattern: str) -> Callable[[Random, Path], str]:
    def damage(rng: Random, root: Path) -> str:
        file = rng.choice(sorted(root.glob(pattern)))
        text, done = (damage_lines if file.suffix == ".jsonl" else damage_json)(rng, file.read_text("utf-8"))
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        return f"{file.relative_to(root)}: {done}"

    return damage


def card_of(pattern: str) -> Callable[[Random, Path], str]:
    def damage(rng: Random, root: Path) -> str:
        file = rng.choice(sorted(root.glob(pattern)))
        key = "defect_synth_painter" if b'"defect_synth_painter"' in file.read_bytes()[:4096] else "defect_synth"
        return f"{file.relative_to(root)}: {damage_safetensors(rng, file, key)}"

    return damage


def folder(name: str) -> Callable[[Random, Path], str]:
    def damage(rng: Random, root: Path) -> str:
        return ", ".join(damage_folder(rng, root / name) for _ in range(rng.choice((1, 1, 2, 4))))

    return damage


def any_of(*damages: Callable[[Random, Path], str]) -> Callable[[Random, Path], str]:
    return lambda rng, root: rng.choice(damages)(rng, root)


def nothing(rng: Random, root: Path) -> str:
    """The damage is in the arguments."""
    return "arguments"


# -------------------------------------------------------------------------------------------------------------- readers


def data_readers(path: str) -> Callable[[Random], Sequence[Call]]:
    def read(rng: Random) -> Sequence[Call]:
        return [command("check", path), command("bank", path, "--real", "-o", "out/bank", "--resolution", "32")]

    return read


FORMATS = ("mvtec", "coco", "yolo-seg", "labelme", "webdataset")


def read_bank(rng: Random) -> Sequence[Call]:
    seed = str(rng.randrange(100))
    return [
        rng.choice((
            command("info", "bank"), command("export", "bank", "-o", "out/x", "--format", rng.choice(FORMATS)),
            command("generate", "bank", "-o", "out/x", "--count", "1"),
            command("paint", "image.png", "--source", "bank", "-o", "out/x.png", "--seed", seed),
        ))
    ]  # fmt: skip


def read_generated(rng: Random) -> Sequence[Call]:
    return [
        rng.choice((
            command("info", "made"), command("export", "made", "-o", "out/x", "--format", rng.choice(FORMATS)),
            command("bank", "made", "-o", "out/bank", "--count", "2"), command("check", "made/nut"),
            command("paint", "image.png", "--source", "made", "-o", "out/x.png"),
        ))
    ]  # fmt: skip


def read_half_generated(rng: Random) -> Sequence[Call]:
    return [command("generate", "bank", "-o", "out", "--count", "2")]


def read_painter(rng: Random) -> Sequence[Call]:
    paint = (
        "paint",
        "image.png",
        "--source",
        "model.safetensors",
        "-o",
        "out/x.png",
        "--seed",
        str(rng.randrange(100)),
    )
    return [
        rng.choice((
            command("info", "model.safetensors"), command(*paint),
            command("generate", "model.safetensors", "-o", "out/x", "--count", "1"),
        ))
    ]  # fmt: skip


def read_dfmgan(path: str) -> Callable[[Random], Sequence[Call]]:
    def read(rng: Random) -> Sequence[Call]:
        made = command("generate", path, "-o", "out/x", "--count", "1", "--device", "cpu")
        return [rng.choice((command("info", path), made, made, command("pack", path, "-o", "out/x.safetensors")))]

    return read


def read_baseline(rng: Random) -> Sequence[Call]:
    made = command("generate", "run", "-o", "out/x", "--count", "1", "--device", "cpu")
    return [rng.choice((command("info", "run"), made, made))]


def read_run(rng: Random) -> Sequence[Call]:
    return [
        rng.choice((
            command("train", "data/nut", "-o", "out", "--resume", *TINY),
            command("bank", "out", "--data", "data/nut", "-o", "out/bank", "--count", "1", "--device", "cpu"),
            command("info", "out"),
        ))
    ]  # fmt: skip


def read_protocol(rng: Random) -> Sequence[Call]:
    """A protocol is read and resolved, not measured, since a valid one would take hours."""

    def resolve() -> None:
        from defect_synth.benchmark import BenchmarkRequest, load_protocol
        from defect_synth.benchmark.plan import Plan

        request = BenchmarkRequest(categories=("nut",), data=Path("data"), output=Path("out"), device="cpu")
        Plan.of(request, load_protocol("protocol.toml"))

    return [as_command(resolve)]


def read_weights(rng: Random) -> Sequence[Call]:
    def read() -> None:
        from defect_synth.metrics.weights_file import read_tensors, tensors_digest

        for name in ("weights.pth", "weights.safetensors"):
            if not name.endswith(".pth") or Path(name).exists():
                tensors_digest(read_tensors(name, "give a weights file"))

    return [as_command(read)]


def read_settings(rng: Random) -> Sequence[Call]:
    """`--set` and numbers of `train`, up to the plan: what is valid would be trained."""
    from defect_synth.config import _dotted
    from defect_synth.dfmgan.config import TINY as PRESET

    names = [*_dotted(PRESET.model_dump()), "pretrain", "model.backbone", *NAMES]
    words = (
        *map(str, NUMBERS),
        "nan",
        "NaN",
        "1e400",
        "Infinity",
        "null",
        "true",
        "[]",
        "{}",
        '""',
        "9" * 5000,
        "[" * 5000,
        *NAMES,
    )
    items = tuple(f"{rng.choice(names)}={rng.choice(words)}" for _ in range(rng.choice((1, 1, 2))))
    resolution = rng.choice((None, None, None, *(n for n in NUMBERS if isinstance(n, int))))
    method, preset = rng.choice((("dfmgan", "TINY"), ("painter", "PAINT_TINY"), ("cdc", "fast"), ("sdgan", "fast")))
    seed = rng.choice((0, 0, *(n for n in NUMBERS if isinstance(n, int))))

    def resolve() -> None:
        from defect_synth.cli.methods import MethodOptions, plan

        plan(method, MethodOptions(preset=preset, set=items, resolution=resolution), seed, None, 1)

    resolve.__doc__ = f"train --method {method} --preset {preset} --resolution {resolution} --seed {seed} --set {items}"
    return [as_command(resolve)]


def read_numbers(rng: Random) -> Sequence[Call]:
    """Numbers of options that say how many, how large and where; counts are small where they are valid."""
    number = rng.choice(
        ("nan", "inf", "-inf", "-1", "0", "1e400", "", "1.5", "-0", "x", "9" * 400, "\u0661", "1_0", " 1 ", "0x1")
    )
    option = rng.choice((
        ("generate", "bank", "-o", "out/x", "--count"), ("bank", "bank", "-o", "out/x", "--count"),
        ("generate", "bank", "--count", "1", "-o", "out/x", "--seed"),
        ("generate", "bank", "--count", "1", "-o", "out/x", "--shard"),
        ("generate", "bank", "--count", "1", "-o", "out/x", "--truncation-defect"),
        ("bank", "data/nut", "--real", "-o", "out/x", "--resolution"),
        ("paint", "image.png", "--source", "bank", "-o", "out/x.png", "--severity"),
        ("paint", "image.png", "--source", "bank", "-o", "out/x.png", "--scale"),
        ("paint", "image.png", "--source", "bank", "-o", "out/x.png", "--at"),
        ("paint", "image.png", "--source", "bank", "-o", "out/x.png", "--seed"),
        ("preview", "image.png", "--source", "bank", "-o", "out/x", "--seeds"),
        ("demo-data", "out/x", "--per-defect", "1", "--resolution", "32", "--good"),
        ("demo-data", "out/x", "--per-defect", "1", "--good", "1", "--resolution"),
        ("train", "data/nut", "-o", "out/x", *TINY, "--minutes"),
        ("train", "data/nut", "-o", "out/x", *TINY, "--max-memory"),
    ))  # fmt: skip
    if option[-1] == "--shard":
        number = f"{number}/{rng.choice(('1', '2', '0', number))}"
    if option[-1] == "--at":
        number = f"{number},{rng.choice(('1', number))}"
    return [command(*option, number)]


def as_command(call: Callable[[], object]) -> Call:
    """A function of the package, ended as the command line would end it: one line and exit code 2."""

    def run() -> None:
        import sys

        from defect_synth.errors import DefectSynthError

        try:
            call()
        except DefectSynthError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    run.__doc__ = call.__doc__
    return run


KINDS: dict[str, Kind] = {
    "image": Kind(images_of_every_format, one_file("data/nut/train/good/*"), data_readers("data/nut")),
    "image-to-paint": Kind(
        bank, one_file("image.png"), lambda rng: [command("paint", "image.png", "--source", "bank", "-o", "out/x.png")]
    ),
    "mask": Kind(data, one_file("data/nut/ground_truth/*/*"), data_readers("data/nut")),
    "mvtec": Kind(data, folder("data"), data_readers("data/nut")),
    "visa": Kind(
        lambda root: write_visa(root / "data", **SMALL),
        any_of(folder("data"), text_of("data/**/*.csv")),
        data_readers("data/candle"),
    ),
    "folders": Kind(
        lambda root: write_folders(root / "data", "nut", SMALL["defects"], 3, 32),
        folder("data"),
        data_readers("data/nut"),
    ),
    "csv": Kind(
        lambda root: write_csv(root / "data", "nut", SMALL["defects"], 3, 32),
        any_of(text_of("data/nut/images.csv"), text_of("data/nut/images.csv"), one_file("data/nut/images.csv")),
        data_readers("data/nut/images.csv"),
    ),
    "coco": Kind(
        lambda root: write_coco(root / "data", "nut", SMALL["defects"], 3, 32),
        any_of(json_of("data/nut/*.json"), json_of("data/nut/*.json"), one_file("data/nut/*.json")),
        data_readers("data/nut"),
    ),
    "coco-runs": Kind(
        lambda root: write_coco(root / "data", "nut", SMALL["defects"], 3, 32, form="text"),
        json_of("data/nut/*.json"),
        data_readers("data/nut"),
    ),
    "bank": Kind(
        bank, any_of(json_of("bank/*.json*"), json_of("bank/*.json*"), one_file("bank/*"), folder("bank")), read_bank
    ),
    "generated": Kind(
        generated, any_of(json_of("made/nut/provenance.jsonl"), one_file("made/**/*"), folder("made")), read_generated
    ),
    "half-generated": Kind(
        half_generated, any_of(json_of("out/nut/.part*"), one_file("out/**/*"), folder("out")), read_half_generated
    ),
    "quality-cache": Kind(
        measured, any_of(one_file("out/quality_cache/**/*"), folder("out")), lambda rng: [command(*MEASURE)]
    ),
    "painter": Kind(painter, card_of("model.safetensors"), read_painter),
    "dfmgan": Kind(dfmgan, card_of("run/defects/hole/model.safetensors"), read_dfmgan("run")),
    "bundle": Kind(bundle, card_of("set.safetensors"), read_dfmgan("set.safetensors")),
    "baseline": Kind(baseline, any_of(json_of("run/*.json"), card_of("run/**/model.safetensors")), read_baseline),
    "run": Kind(
        run_folder,
        any_of(json_of("out/*.json"), card_of("out/**/*.safetensors"), one_file("out/**/*"), folder("out")),
        read_run,
    ),
    "snapshot": Kind(
        snapshot,
        one_file("snapshot.pkl"),
        lambda rng: [command("import", "snapshot.pkl", "-o", "out/hazelnut_hole.safetensors")],
    ),
    "results": Kind(
        results,
        any_of(json_of("out/results.json"), json_of("out/results.json"), one_file("out/results.json"), folder("out")),
        lambda rng: [command("benchmark", "--report-only", "-o", "out")],
    ),
    "protocol": Kind(
        protocol, any_of(text_of("protocol.toml"), text_of("protocol.toml"), one_file("protocol.toml")), read_protocol
    ),
    "weights": Kind(weights, one_file("weights.*"), read_weights),
    "settings": Kind(lambda root: None, nothing, read_settings),
    "numbers": Kind(bank, nothing, read_numbers),
}
