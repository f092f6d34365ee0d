"""Seconds of the same work by the obvious networks (`reference_stylegan2.py`) and by ours, in turn.

python benchmarks/speed.py [--rows TEXT,...] [--threads 2] [--repeats 2] [--no-write]

Each side has a process of its own that waits while the other computes: what one does to its memory (ours keeps freed
buffers, the reference takes fresh ones, as the definition says) must not help or harm the other.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import speed_rows
import torch

from defect_synth.nn import native

RESULTS = Path(__file__).parent / "results"


class Side:
    """A process that holds one side of one row and runs its steps on request."""

    def __init__(self, row: str, side: str, threads: int) -> None:
        command = [sys.executable, str(Path(__file__).with_name("speed_rows.py")), row, side, str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps = json.loads(self._read())

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended early: {self._process.args}")
        return line

    def seconds(self, number: int) -> float:
        """Wall clock of one run of a step."""
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return float(self._read())

    def close(self) -> float:
        """End it; its peak memory in GiB."""
        self._process.stdin.write("end\n")
        self._process.stdin.flush()
        peak = float(self._read())
        self._process.wait()
        return peak


def compare(row: str, threads: int, repeats: int) -> dict:
    """Both sides of a row, step by step in turn; the least of the repetitions, after one that warms up.

    With one repetition the reference is not warmed up: its steps then take half a minute, beside which a first call's
    allocations are nothing.
    """
    sides = {side: Side(row, side, threads) for side in ("reference", "ours")}
    steps = sides["ours"].steps
    best = {side: [float("inf")] * len(steps) for side in sides}
    for repeat in range(repeats + 1):
        for number in range(len(steps)):
            for name, side in sides.items():
                if repeat == 0 and repeats == 1 and name == "reference":
                    continue
                spent = side.seconds(number)
                if repeat:
                    best[name][number] = min(best[name][number], spent)
    peaks = {f"{name} GiB": side.close() for name, side in sides.items()}
    rows = [{**step, **{side: best[side][i] for side in best}} for i, step in enumerate(steps)]
    total = {side: sum(step[side] * step["share"] for step in rows) for side in best}
    return {"work": row, **total, "ratio": total["reference"] / total["ours"], **peaks, "steps": rows}


def alone(row: str, threads: int, repeats: int) -> list[float]:
    """Our seconds for each step of a row."""
    side = Side(row, "ours", threads)
    best = [float("inf")] * len(side.steps)
    for repeat in range(repeats + 1):
        for number in range(len(best)):
            spent = side.seconds(number)
            if repeat:
                best[number] = min(best[number], spent)
    side.close()
    return best


def scaling(threads: int, repeats: int) -> list[str]:
    """Flatness over the batch, linearity in the count, and what the second core is worth."""
    lines = []
    sizes = speed_rows.BATCHES
    times = alone("batch", threads, repeats)
    shown = ", ".join(f"{n}: {t / n * 1e3:.0f}" for n, t in zip(sizes, times, strict=True))
    lines.append(f"stage-1 G step at 64 (FAST_64), ms per image by batch: {shown}")
    counts = speed_rows.COUNTS
    times = alone("count", threads, repeats)
    shown = ", ".join(f"{n}: {t:.2f}" for n, t in zip(counts, times, strict=True))
    lines.append(f"generate image + mask + clean at 256, seconds by count: {shown}")
    if threads > 1:
        one = alone("count", 1, 1)[-1]
        lines.append(f"generate {counts[-1]} on {threads} cores against one: {one / times[-1]:.2f} x")
    return lines


def memory(threads: int) -> list[str]:
    """Peak memory of our process through all phases of one large stage-2 iteration."""
    side = Side("memory", "ours", threads)
    for number in range(len(side.steps)):
        side.seconds(number)
    return [f"peak memory of a stage-2 iteration at 256 (PAPER_256), batch 16: {side.close():.2f} GiB (whole process)"]


def processor() -> tuple[float, float]:
    """What this machine does: GFLOP/s of a large matrix product, GB/s of a copy; the best of a few."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    big = torch.randn(64 << 20 >> 2)
    target = torch.empty_like(big)

    def best(call) -> float:
        spent = []
        for _ in range(6):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
        return min(spent)

    return 2 * 2048**3 / best(lambda: torch.mm(a, b)) / 1e9, 2 * big.nbytes / best(lambda: target.copy_(big)) / 1e9


def cpu_model() -> str:
    """As the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: list[dict], notes: list[str], about: dict) -> str:
    """Markdown: rows, then steps, then single figures, then the circumstances."""
    lines = ["| work | reference s | ours s | ratio | floor s |", "|---|---|---|---|---|"]
    for row in rows:
        floor = sum(step.get("gflop", 0.0) * step["share"] for step in row["steps"]) / about["GFLOP/s"]
        lines.append(
            f"| {row['work']} | {row['reference']:.2f} | {row['ours']:.2f} | {row['ratio']:.1f} "
            f"| {f'{floor:.2f}' if floor else ''} |"
        )
    lines += ["", "| step | reference s | ours s | ratio |", "|---|---|---|---|"]
    for row in rows:
        if len(row["steps"]) > 1:
            for s in row["steps"]:
                name = f"{row['work']}: {s['name']} (x {s['share']:g})"
                lines.append(f"| {name} | {s['reference']:.2f} | {s['ours']:.2f} | {s['reference'] / s['ours']:.1f} |")
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    lines += ["", ", ".join(f"{key} {value}" for key, value in about.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", default="", help="comma-separated parts of row names, metrics, memory, scaling; default: all"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="the least of these counts")
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    torch.set_num_threads(arguments.threads)

    def wanted(name: str) -> bool:
        return any(text in name for text in arguments.rows.split(","))

    gflops, bandwidth = processor()
    about = {
        "torch": torch.__version__, "numpy": np.__version__, "CPU": cpu_model(), "threads": arguments.threads,
        "kernels": native.describe(), "dtype": "float32", "augmentation": "ADA, p = 0.3",
        "GFLOP/s": round(gflops), "GB/s": round(bandwidth, 1), "repetitions": arguments.repeats,
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip
    rows, notes = [], []
    for name in speed_rows.ROWS:
        if wanted(name):
            # Iterations take up to two minutes on the reference's side.
            rows.append(compare(name, arguments.threads, 1 if "iteration" in name else arguments.repeats))
            print(table(rows[-1:], [], about).split("\n\n")[0], flush=True)
    try:
        import speed_metrics
    except ImportError:
        pass
    else:
        if wanted("metrics"):
            rows += speed_metrics.rows()
    if wanted("memory"):
        notes += memory(arguments.threads)
    if wanted("scaling"):
        notes += scaling(arguments.threads, arguments.repeats)
    text = table(rows, notes, about)
    print(text)
    if not arguments.no_write and not arguments.rows:
        RESULTS.mkdir(exist_ok=True)
        record = {"about": about, "rows": rows, "notes": notes}
        (RESULTS / "speed.json").write_text(json.dumps(record, indent=2) + "\n")
        (RESULTS / "speed.md").write_text(text)


if __name__ == "__main__":
    main()
