"""Milliseconds of each compiled kernel and of the same operation by torch, on the shapes that the networks use.

python benchmarks/speed_kernels.py [--pairs 9] [--no-write]

Writes `results/kernels.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import speed
import torch
from torch import Tensor

from defect_synth.dfmgan.ada import LOW_PASS
from defect_synth.nn import convolution_kernels, native
from defect_synth.nn.bias_act import bias_act
from defect_synth.nn.convolution import conv_layer_reference
from defect_synth.nn.memory import keep_memory
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d, upsample2d
from defect_synth.nn.weight_cache import enable_weight_cache

HOW = """\
Written by `python benchmarks/speed_kernels.py`. Both forms of an operation run alternately in one process on one
thread. Times are CPU times, so that other programs on the machine disturb them little; each is the median over the
pairs, and so is the ratio."""
NOTES = """\
A kernel that is less than 1.5 times as fast as torch in every row would not be worth its code; there is none. The
smallest gain is that of `resample` with channels innermost, before layers of a discriminator that halve the size: on
the largest maps torch is as fast. Taking torch's form there would sum in another order, so that the same training would
no longer give the same bytes."""
RESULTS = Path(__file__).parent / "results" / "kernels.md"
ENOUGH = 1.5  # a kernel must be this much faster than torch somewhere
CLAMP = 256.0

# (network, batch, channels, side): a 3x3 layer of the generator that keeps the size.
SAMPLING = (("DFMGAN 256", 1, 512, 32), ("DFMGAN 256", 1, 256, 64), ("DFMGAN 256", 1, 128, 128),
            ("DFMGAN 256", 1, 64, 256), ("painter 128", 1, 48, 32), ("painter 128", 1, 32, 64))  # fmt: skip
TRAINING = (("DFMGAN 256", 4, 256, 64), ("DFMGAN 256", 4, 64, 256), ("DFMGAN 64", 16, 128, 16),
            ("DFMGAN 64", 16, 64, 32), ("DFMGAN 64", 16, 32, 64), ("tiny", 4, 16, 32))  # fmt: skip


@dataclass
class Row:
    """One operation on one shape, computed in two ways."""

    kernel: str
    work: str
    ours: Callable[[], object]
    torch: Callable[[], object]


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """Every operation takes its torch form."""
    with mock.patch.object(native, "supports", return_value=False):
        yield


def rows() -> Iterator[Row]:
    """All rows, one at a time, since their tensors are large."""
    for shape in SAMPLING:
        yield convolution(*shape, cached=True)
    for shape in TRAINING:
        yield convolution(*shape, cached=False)
    for shape in (*SAMPLING[1:4], *TRAINING):
        yield doubling_layer(*shape)
    for network, n, channels, side in ((t[0], *t[1:]) for t in TRAINING):
        yield resampling(f"{network}: before a layer of D that halves", n, channels, side, up=1, down=1, pad=(2, 2))
    for network, n, side in (("DFMGAN 256", 1, 128), ("DFMGAN 64", 16, 32)):
        yield resampling(f"{network}: RGB or mask, doubled", n, 3, side, up=2, down=1, pad=(2, 1))
    for network, n, side in (("DFMGAN 256", 4, 256), ("DFMGAN 64", 16, 64)):
        for up, down in ((2, 1), (1, 2)):
            yield adaptive_augmentation(network, n, side * down, up, down)
    for shape in TRAINING:
        yield pointwise_gradient(*shape)
        yield filter_gradient(*shape, down=False)
        yield filter_gradient(*shape, down=True)
        yield style_gradient(*shape)


def operands(n: int, channels: int, side: int) -> dict[str, Tensor]:
    """Inputs of one layer with as many output as input channels."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    return {
        "x": normal(n, channels, side, side).contiguous(memory_format=torch.channels_last),
        "weight": normal(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last),
        "style": 1 + 0.1 * normal(n, channels), "scale": 1 + 0.1 * normal(n, channels), "bias": normal(channels),
        "noise": normal(1, 1, side, side),
    }  # fmt: skip


def convolution(network: str, n: int, channels: int, side: int, *, cached: bool) -> Row:
    """A layer of the generator that keeps the size."""
    given = operands(n, channels, side)
    if cached:
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(given["weight"], requires_grad=False)
        enable_weight_cache(module)
        given["weight"] = module.weight
    arguments = (*given.values(), "same", True, CLAMP)
    work = f"{network}: layer, [{n}, {channels}, {side}, {side}]"
    return Row(
        "convolve" if cached else "transform_filters, convolve", work, lambda: convolution_kernels.layer(*arguments),
        lambda: conv_layer_reference(*arguments),
    )  # fmt: skip


def doubling_layer(network: str, n: int, channels: int, side: int) -> Row:
    """What follows the transposed convolution of a layer that doubles the size: filter and pointwise operations."""
    given = operands(n, channels, side)
    y = torch.randn(n, channels, side + 1, side + 1).contiguous(memory_format=torch.channels_last)
    scale, bias, noise = (given[name] for name in ("scale", "bias", "noise"))
    finish = (scale, bias, noise, 0, 0.2, CLAMP)

    def by_torch() -> Tensor:
        with without_kernels():
            filtered = upfirdn2d(y, BINOMIAL, pad=(1, 1), gain=4.0)
        filtered = torch.addcmul(bias[:, None, None], filtered, scale[:, :, None, None]) + noise
        return bias_act(filtered, None, gain=1.0, clamp=CLAMP)

    work = f"{network}: filter and pointwise part of a doubling layer, [{n}, {channels}, {side}, {side}]"
    return Row("resample and finish", work, lambda: convolution_kernels.filter_and_finish(y, finish), by_torch)


def resampling(what: str, n: int, channels: int, side: int, *, up: int, down: int, pad: tuple[int, int]) -> Row:
    """The binomial filter."""
    x = torch.randn(n, channels, side, side)
    x = x.contiguous(memory_format=torch.channels_last) if channels > 3 else x

    def ours() -> Tensor:
        return upsample2d(x) if up == 2 else upfirdn2d(x, BINOMIAL, down=down, pad=pad)

    def by_torch() -> Tensor:
        with without_kernels():
            return ours()

    kernel = "resample, channels innermost" if channels > 3 else "resample, planes"
    return Row(kernel, f"{what}, [{n}, {channels}, {side}, {side}]", ours, by_torch)


def adaptive_augmentation(network: str, n: int, side: int, up: int, down: int) -> Row:
    """The 12 taps of ADA, on RGB and mask."""
    x = torch.randn(n, 4, side, side)

    def ours() -> Tensor:
        return upfirdn2d(x, LOW_PASS, up=up, down=down, pad=(6, 5) if up == 2 else (5, 5))

    def by_torch() -> Tensor:
        with without_kernels():
            return ours()

    step = "doubled" if up == 2 else "halved"
    return Row("resample, planes", f"{network}: ADA, {step} with 12 taps, [{n}, 4, {side}, {side}]", ours, by_torch)


def pointwise_gradient(network: str, n: int, channels: int, side: int) -> Row:
    """Gradients of scale, bias and noise and of what they are applied to."""
    given = operands(n, channels, side)
    inputs = tuple(given.values())
    with torch.no_grad():
        y = convolution_kernels.layer(*inputs, "same", True, CLAMP)
    grad = torch.randn_like(y)
    needed = (False, False, False, True, True, True)

    def ours() -> object:
        return convolution_kernels.layer_backward(grad, inputs, y, needed, "same", True, CLAMP)

    with torch.enable_grad():
        leaves = [given[name].clone().requires_grad_(True) for name in ("x", "scale", "bias", "noise")]
        z, scale, bias, noise = leaves
        out = torch.addcmul(bias[:, None, None], z, scale[:, :, None, None]) + noise
        out = bias_act(out, None, gain=1.0, clamp=CLAMP)

    def by_torch() -> object:
        return torch.autograd.grad(out, leaves, grad, retain_graph=True)

    return Row("finish_gradient", f"{network}: backward, [{n}, {channels}, {side}, {side}]", ours, by_torch)


def filter_gradient(network: str, n: int, channels: int, side: int, *, down: bool) -> Row:
    """Gradient of the filters of a layer that keeps or halves the size."""
    given = operands(n, channels, side)
    x = torch.randn(n, channels, side + 1, side + 1) if down else given["x"]
    x = x.contiguous(memory_format=torch.channels_last)
    out = side // 2 if down else side
    grad = torch.randn(n, channels, out, out).contiguous(memory_format=torch.channels_last)

    def ours() -> Tensor:
        return convolution_kernels.filter_gradient(down, x, given["style"], grad, given["scale"])

    def by_torch() -> Tensor:
        with mock.patch.object(convolution_kernels, "_LEAST_TILES_GRADIENT", 1 << 60):
            return ours()

    kernel = "filter_gradient, stride 2" if down else "filter_gradient, stride 1"
    return Row(kernel, f"{network}: backward, [{n}, {channels}, {side}, {side}]", ours, by_torch)


def style_gradient(network: str, n: int, channels: int, side: int) -> Row:
    """Gradients of x and style of x * style."""
    given = operands(n, channels, side)
    grad = torch.randn_like(given["x"])
    one = torch.ones_like(given["style"])  # the kernel scales in place: ones leave the next run the same numbers
    sums = torch.empty_like(one)

    def ours() -> None:
        native.call("scale_and_dot", grad, n, side * side, channels, grad, given["x"], one, sums)

    with torch.enable_grad():
        x, style = given["x"].clone().requires_grad_(True), one.clone().requires_grad_(True)
        out = x * style[:, :, None, None]

    def by_torch() -> object:
        return torch.autograd.grad(out, [x, style], grad, retain_graph=True)

    return Row("scale_and_dot", f"{network}: backward, [{n}, {channels}, {side}, {side}]", ours, by_torch)


def measure(row: Row, pairs: int) -> tuple[float, float, float]:
    """Median milliseconds of torch and of the kernel, and the median ratio of the pairs."""
    row.ours(), row.torch()
    seconds: list[tuple[float, float]] = []
    repeats = 1
    while True:
        started = time.process_time()
        for _ in range(repeats):
            row.ours()
        if time.process_time() - started > 0.02 or repeats > 1000:
            break
        repeats *= 2
    for _ in range(pairs):
        spent = []
        for form in (row.torch, row.ours):
            started = time.process_time()
            for _ in range(repeats):
                form()
            spent.append((time.process_time() - started) / repeats)
        seconds.append((spent[0], spent[1]))
    slow, fast = (1000 * statistics.median(pair[side] for pair in seconds) for side in (0, 1))
    return slow, fast, statistics.median(pair[0] / pair[1] for pair in seconds)


def table(found: list[tuple[Row, float, float, float]], about: dict[str, object]) -> str:
    """Markdown: a line for each kernel, then each row."""
    lines = ["# Compiled kernels against torch", "", HOW, ""]
    kernels = dict.fromkeys(row.kernel for row, *_ in found)
    lines += ["| kernel | rows | ratio: least, median, most |", "|---|---|---|"]
    for kernel in kernels:
        ratios = [ratio for row, _, _, ratio in found if row.kernel == kernel]
        shown = f"{min(ratios):.2f}, {statistics.median(ratios):.2f}, {max(ratios):.2f}"
        lines.append(f"| {kernel} | {len(ratios)} | {shown} |")
        if max(ratios) < ENOUGH:
            print(f"{kernel}: below {ENOUGH} in every row")
    lines += ["", NOTES, "", "| kernel | work | torch ms | kernel ms | ratio |", "|---|---|---|---|---|"]
    for row, slow, fast, ratio in found:
        lines.append(f"| {row.kernel} | {row.work} | {slow:.3g} | {fast:.3g} | {ratio:.2f} |")
    lines += ["", ", ".join(f"{key} {value}" for key, value in about.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()
    if native.compiled() is None:
        raise SystemExit("the kernels cannot be compiled here; install g++")
    torch.set_num_threads(1)
    keep_memory()
    found = []
    with torch.no_grad():
        for row in rows():
            found.append((row, *measure(row, arguments.pairs)))
            print(f"{row.kernel} | {row.work} | {' '.join(f'{value:.3g}' for value in found[-1][1:])}", flush=True)
    about = {
        "torch": torch.__version__, "CPU": speed.cpu_model(), "threads": 1, "dtype": "float32",
        "pairs": arguments.pairs, "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip
    text = table(found, about)
    print(text)
    if not arguments.no_write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
