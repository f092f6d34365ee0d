"""Draw a run's samples on a Ray cluster: one task per part, each of which may fail and be run again.

python examples/ray_generate.py runs/hazelnut synthetic --count 1000 --parts 16
(both folders must be visible to all machines of the cluster; `pip install ray` on each)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def draw(run: Path, output: Path, count: int, part: int, parts: int) -> int:
    """What a worker does; nothing heavy is imported before it gets there."""
    from defect_synth import DefectSynthesizer
    from defect_synth.export.generated_folder import Shard, generate

    generate(DefectSynthesizer.load(run), output, count=count, shard=Shard(part, parts))
    return part


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, spread the parts over the cluster, and wait."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--count", type=int, default=1000, help="samples of each defect")
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--cpus", type=int, default=2, help="cores of a task")
    parser.add_argument("--address", default=None, help="of a running cluster; default: this machine")
    options = parser.parse_args(arguments)
    try:
        import ray
    except ImportError:
        sys.exit("this example needs Ray: pip install ray")

    ray.init(address=options.address)
    task = ray.remote(num_cpus=options.cpus, max_retries=3)(draw)
    run, output = options.run.resolve(), options.output.resolve()
    waiting = [task.remote(run, output, options.count, part, options.parts) for part in range(1, options.parts + 1)]
    while waiting:
        done, waiting = ray.wait(waiting)
        for part in ray.get(done):
            print(f"part {part} of {options.parts} is done")


if __name__ == "__main__":
    main()
