"""Every trained system: settings, training, resuming, opening; what one of them alone does is tested beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from defect_synth.baselines.cdc import CDC
from defect_synth.baselines.defect_gan import DefectGAN
from defect_synth.baselines.diffaug import DiffAug
from defect_synth.baselines.finetune import Finetune
from defect_synth.baselines.sdgan import SDGAN
from defect_synth.baselines.train import SYSTEMS, is_system, open_system, settings_of, system_of, train_system
from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import TINY, AugmentConfig
from defect_synth.engine.checkpoint import load_checkpoint
from defect_synth.errors import CheckpointError, ConfigError, DataError, UnknownDefectError
from defect_synth.samples import FiniteSource, SquareSource
from tests.fake_data import write_mvtec

SHORT = {
    "pretrain.total_kimg": 0.048, "transfer.total_kimg": 0.048, "pretrain.snapshot_kimg": 0.032,
    "transfer.snapshot_kimg": 0.032, "pretrain.micro_batch": 8, "transfer.micro_batch": 8,
}  # fmt: skip
CONFIG = override(TINY, SHORT)
NO_ADA = AugmentConfig(mode="none").model_dump()
SHORT_STAGE = {"stage.total_kimg": 0.024, "stage.snapshot_kimg": 0.016}
TRAINED = {
    "finetune": Finetune(config=CONFIG),
    "diffaug": DiffAug(config=override(CONFIG, {"pretrain.augment": NO_ADA})),
    "cdc": CDC(config=override(CONFIG, {"transfer.augment": NO_ADA})),
    "sdgan": override(SDGAN(resolution=32, channels=4, blocks=1), SHORT_STAGE),
    "defect-gan": override(DefectGAN(resolution=32, channels=4, blocks=1, critic_steps=2), SHORT_STAGE),
}
DEFECTS = {"finetune": ("hole",), "diffaug": ("hole",), "cdc": ("hole",), "sdgan": None, "defect-gan": None}
MASKS = {"finetune": "none", "diffaug": "none", "cdc": "none", "sdgan": "none", "defect-gan": "weak"}
FOLDERS = {
    "finetune": {"backbone", "defects/hole"}, "diffaug": {"defects/hole"}, "cdc": {"backbone", "defects/hole"},
    "sdgan": {"defects/cut", "defects/hole"}, "defect-gan": {"defect_gan"},
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return index(write_mvtec(tmp_path_factory.mktemp("data"), defects={"cut": 3, "hole": 3}, good=6, size=32))


@pytest.fixture(scope="module")
def runs(table, tmp_path_factory):
    made = {}
    for name, system in TRAINED.items():
        made[name] = tmp_path_factory.mktemp(name) / "run"
        train_system(system, table, everything(table, 0.0, 0), made[name], defects=DEFECTS[name])
    return made


def test_there_is_a_class_of_settings_for_every_method():
    assert {name: type(system) for name, system in TRAINED.items()} == {name: system_of(name) for name in SYSTEMS}
    assert {name: system.method for name, system in TRAINED.items()} == {name: name for name in SYSTEMS}


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_killed_run_resumes_to_the_same_bytes(name, runs, table, tmp_path):
    late = 0.040 if name in ("finetune", "diffaug", "cdc") else 0.020  # between two snapshots of the last stage

    def die(progress):
        if progress.stage in ("hole", "defect-gan") and progress.done_kimg >= late:
            raise KilledError

    part, run = everything(table, 0.0, 0), tmp_path / "run"
    with pytest.raises(KilledError):
        train_system(TRAINED[name], table, part, run, defects=DEFECTS[name], report=die)
    train_system(TRAINED[name], table, part, run, defects=DEFECTS[name], resume=True)
    files = sorted(path.relative_to(run) for path in run.rglob("*.safetensors"))
    assert {str(file.parent) for file in files} == FOLDERS[name]
    assert len(files) == 2 * len(FOLDERS[name])
    for file in files:
        assert (run / file).read_bytes() == (runs[name] / file).read_bytes()


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_depend_on_their_seed_alone_and_say_what_their_masks_are_worth(name, runs):
    source = open_system(runs[name])
    assert (source.category, source.defects) == ("nut", DEFECTS[name] or ("cut", "hole"))
    assert isinstance(source, SquareSource)
    assert source.resolution == 32
    together = source.sample("hole", [5, 1, 3])
    for seed, sample in zip([5, 1, 3], together, strict=True):
        alone = open_system(runs[name]).sample("hole", [seed])[0]
        np.testing.assert_array_equal(sample.image, alone.image)
        np.testing.assert_array_equal(sample.mask, alone.mask)
        assert sample.provenance == alone.provenance
        assert (sample.provenance.method, sample.provenance.parameters["mask"]) == (name, MASKS[name])
        assert not sample.mask.any() or MASKS[name] == "weak"
    assert (together[0].image != together[1].image).any()
    with pytest.raises(UnknownDefectError, match="crack"):
        source.sample("crack", [0])


@pytest.mark.parametrize("name", SYSTEMS)
def test_digests_tell_runs_and_normal_images_apart(name, runs):
    assert open_system(runs[name]).digest == open_system(runs[name]).digest
    assert len({open_system(run).digest for run in runs.values()}) == len(runs)
    other = open_system(runs[name], normal=np.full((2, 32, 32, 3), 90, np.uint8))
    assert (other.digest == open_system(runs[name]).digest) is not TRAINED[name].changes_images


@pytest.mark.parametrize("name", ["sdgan", "defect-gan"])
def test_given_normal_images_are_the_ones_that_are_changed(name, runs):
    normal = np.full((1, 32, 32, 3), 90, np.uint8)
    sample = open_system(runs[name], normal=normal).sample("cut", [0])[0]
    np.testing.assert_array_equal(sample.clean, normal[0])
    with pytest.raises(DataError, match="at least one normal image"):
        open_system(runs[name], normal=normal[:0])


def test_sdgan_alone_has_a_finite_number_of_samples(runs):
    assert [name for name in SYSTEMS if isinstance(open_system(runs[name]), FiniteSource)] == ["sdgan"]


def test_finetune_and_cdc_move_every_weight_of_stage_1(runs):
    for name in ("finetune", "cdc"):
        before = load_checkpoint(runs[name] / "backbone" / "model.safetensors", DFMGANCard).tensors
        after = load_checkpoint(runs[name] / "defects" / "hole" / "model.safetensors", DFMGANCard).tensors
        moved = [
            key for key, value in before.items() if "noise_const" not in key and not torch.equal(value, after[key])
        ]
        trained = [key for key in before if "noise_const" not in key and "w_avg" not in key]
        assert set(trained) <= set(moved)


def test_a_given_stage_1_is_used_and_not_trained_again(runs, table, tmp_path):
    system = Finetune(config=CONFIG, pretrained=runs["finetune"])
    ended = train_system(system, table, everything(table, 0.0, 0), tmp_path / "run", defects=["hole"])
    assert list(ended) == ["hole"]
    given, own = (folder / "defects/hole/model.safetensors" for folder in (tmp_path / "run", runs["finetune"]))
    assert given.read_bytes() == own.read_bytes()


def test_other_settings_are_not_resumed(runs, table):
    system = Finetune(config=override(CONFIG, {"transfer.learning_rate": 0.001}))
    with pytest.raises(CheckpointError, match="was started with settings"):
        train_system(system, table, everything(table, 0.0, 0), runs["finetune"], defects=["hole"], resume=True)


def test_damaged_settings_are_one_line(runs, tmp_path):
    values = json.loads((runs["cdc"] / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(values | {"settings": {"method": "cdc", "consistency": -1}}))
    assert is_system(tmp_path)
    with pytest.raises(CheckpointError, match="consistency"):
        open_system(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(values | {"method": "dfmgan"}))
    with pytest.raises(CheckpointError, match="is a run of dfmgan"):
        open_system(tmp_path)


def test_a_run_whose_checkpoints_are_missing_is_named(runs, tmp_path):
    for name, message in (("sdgan", "no checkpoint"), ("cdc", "for hole yet; continue its run with --resume")):
        (tmp_path / "run.json").write_text((runs[name] / "run.json").read_text())
        (tmp_path / "partition.json").write_text((runs[name] / "partition.json").read_text())
        with pytest.raises(CheckpointError, match=message):
            open_system(tmp_path)


def test_missing_data_of_a_run_that_changes_images_is_named(runs, tmp_path):
    values = json.loads((runs["sdgan"] / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(values | {"data": str(tmp_path / "gone")}))
    with pytest.raises(
        DataError, match=r"sdgan changes normal images, but .*gone', the data folder of the run, is gone"
    ):
        open_system(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(values | {"data": "x" * 5000}))
    with pytest.raises(DataError, match=r"'xxx.*\.\.\..*xxx', the data folder of the run, is gone"):
        open_system(tmp_path)


@pytest.mark.parametrize("name", ["settings", "category", "defects", "data"])
def test_a_missing_entry_of_a_run_is_named(name, runs, tmp_path):
    values = json.loads((runs["sdgan"] / "run.json").read_text())
    del values[name]
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"run.json has no entry '{name}'; copy the run folder again"):
        open_system(tmp_path)


@pytest.mark.parametrize("name", SYSTEMS)
def test_too_few_images_are_refused_before_anything_is_written(name, tmp_path):
    table = index(write_mvtec(tmp_path / "data", defects={"hole": 1}, good=6, size=32))
    with pytest.raises(DataError, match="hole"):
        train_system(TRAINED[name], table, everything(table, 0.0, 0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_by_name():
    system = settings_of("cdc", "paper", resolution=128, seed=3, changes={"anchor_std": 0.1})
    assert (system.resolution, system.config.seed, system.anchor_std) == (128, 3, 0.1)
    # Ojha et al.: batch 4, learning rate 0.002, R1 10, 5,000 iterations, consistency 1000.
    stage = system.config.transfer
    assert (stage.batch, stage.learning_rate, stage.r1_gamma, stage.total_kimg) == (4, 0.002, 10.0, 20.0)
    assert system.consistency == 1000
    paper = settings_of("sdgan", "paper")
    assert (paper.resolution, paper.channels, paper.blocks, paper.cycle_weight) == (256, 64, 9, 10)
    assert (paper.stage.learning_rate, paper.stage.batch) == (2e-4, 2)
    paper = settings_of("defect-gan", "paper", resolution=128, seed=2)
    assert (paper.resolution, paper.seed, paper.critic_steps, paper.blocks) == (128, 2, 5, 6)
    with pytest.raises(ConfigError, match="unknown method 'gan'; known: dfmgan, painter, finetune"):
        settings_of("gan", "fast")
    with pytest.raises(ConfigError, match="unknown preset 'TINY' for --method cdc; known: fast, paper"):
        settings_of("cdc", "TINY")
    with pytest.raises(ConfigError, match="anchor_std"):
        settings_of("cdc", "fast", changes={"anchor_std": -1})


@pytest.mark.parametrize("method", SYSTEMS)
def test_settings_without_effect_are_refused_by_name(method):
    for name in system_of(method).unused:
        node = TRAINED[method].model_dump()
        for part in name.split("."):
            node = node[part]  # each of them exists
        name = f"{name}.{next(iter(node))}" if isinstance(node, dict) else name
        with pytest.raises(ConfigError, match=f"{name} has no effect on --method {method}; leave it out"):
            settings_of(method, "fast", changes={name: 1})


def test_schedules_that_a_method_reads_can_be_set():
    assert settings_of("cdc", "fast", changes={"config.transfer.batch": 8}).config.transfer.batch == 8
    assert settings_of("diffaug", "fast", changes={"config.pretrain.batch": 8}).config.pretrain.batch == 8
    with pytest.raises(ConfigError, match=r"config\.transfer\.batch has no effect on --method diffaug"):
        settings_of("diffaug", "fast", changes={"config.transfer.batch": 8})
    with pytest.raises(ConfigError, match=r"stage\.r1_gamma"):
        settings_of("sdgan", "fast", changes={"stage.r1_gamma": 1.0})
