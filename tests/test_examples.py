"""Every example runs as a user would run it, for a step or two."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from defect_synth.samples import DefectSample, Provenance

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = 32
DEFECTS = ("crack", "hole")


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Noise:
    category = "hazelnut"
    digest = "noise"
    defects = DEFECTS

    def sample(self, defect, seeds):
        return [self.one(defect, seed) for seed in seeds]

    def one(self, defect: str, seed: int) -> DefectSample:
        image = np.random.default_rng([seed, len(defect)]).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        return DefectSample(image, mask, defect, Provenance("noise", self.category, defect, seed))


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A folder as `defect-synth generate` leaves it."""
    lines = []
    for defect in DEFECTS:
        for seed in range(3):
            sample = Noise().one(defect, seed)
            names = {"image": f"test/{defect}/{seed:06d}.png", "mask": f"ground_truth/{defect}/{seed:06d}_mask.png"}
            for name, pixels in zip(names.values(), (sample.image, sample.mask), strict=True):
                path = tmp_path / "hazelnut" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
            lines.append(json.dumps(sample.provenance.to_json() | names))
    (tmp_path / "hazelnut" / "provenance.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_train_classifier_learns_from_any_source(capsys):
    model = load_example("train_classifier").train(Noise(), steps=2, batch=4, workers=0, seed=0)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in printed] == ["step 1/2", "step 2/2"]
    assert model.num_classes == 2
    assert int(model.bn1.num_batches_tracked) == 2


def test_train_classifier_runs_from_a_generated_folder(generated, capsys):
    load_example("train_classifier").main([str(generated), "--steps", "2", "--batch", "4"])
    assert "step 2/2" in capsys.readouterr().out


def test_train_classifier_runs_on_the_demo(capsys):
    load_example("train_classifier").main(["demo", "--steps", "1", "--batch", "4"])
    assert "step 1/1" in capsys.readouterr().out


def test_benchmark_prints_an_accuracy_for_each_arm(tmp_path, capsys):
    results = load_example("benchmark").main(["--quickly", "--output", str(tmp_path / "results")])
    arms = ("real", "real + Crop&Paste")
    assert tuple(cell.arm for cell in results.classification) == arms
    printed = capsys.readouterr().out
    assert all(f"  {arm}: " in printed for arm in arms)
    assert (tmp_path / "results" / "report.html").is_file()


def test_every_example_is_run_by_a_test():
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    for example in EXAMPLES.iterdir():
        if example.suffix in {".py", ".sh", ".yaml"}:
            called = example.name if example.suffix != ".py" else example.stem
            assert called in tests, f"no test runs {example.name}"
