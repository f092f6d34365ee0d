"""Does it help on your images? Run the benchmark from a program and use its figures.

    python examples/benchmark.py --data DATA --category bottle
    python examples/benchmark.py --quickly

Without --data the embedded product is used. `defect-synth benchmark` does the same and has more options.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from defect_synth.benchmark import BenchmarkRequest, BenchmarkResults, load_protocol, run_benchmark

ARMS = ["real", "real + standard augmentation", "real + Crop&Paste", "real + painter"]
QUICKLY = {
    "arms": ["real", "real + Crop&Paste"], "shots": "all", "per_defect": 4, "preset": "TINY", "minutes": None,
    "product.good": 6, "product.test_good": 4, "product.per_defect": 9,
    "classifier.architecture": "test_resnet", "classifier.steps": 2, "classifier.batch": 4, "classifier.evaluations": 1,
    "segmentation": None, "threshold": None,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> BenchmarkResults:
    """Parse the command line, run, and print the accuracy of each arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="real images; default: the embedded product")
    parser.add_argument("--category", default="hazelnut", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark-example"), help="(default: %(default)s)")
    parser.add_argument("--quickly", action="store_true", help="a few steps, to see that it runs; figures mean nothing")
    options = parser.parse_args(arguments)

    request = BenchmarkRequest(categories=(options.category,), data=options.data, output=options.output)
    results = run_benchmark(request, load_protocol("quick", QUICKLY if options.quickly else {"arms": ARMS}))
    for result in results.classification:
        low, high = result.interval.low, result.interval.high
        print(
            f"{result.partition}  {result.arm}: {result.accuracy:.1%} [{low:.1%}, {high:.1%}] "
            f"of {result.num_test} test images"
        )
    print(f"see {options.output / 'report.html'}")
    return results


if __name__ == "__main__":
    main()
