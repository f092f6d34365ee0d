from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from defect_synth.data.generated import FolderSource
from defect_synth.datasets.defect_dataset import DefectSynthDataset
from defect_synth.dfmgan.checkpoint import DFMGANCard, build_generator
from defect_synth.dfmgan.code_pair import draw_codes
from defect_synth.dfmgan.config import FAST_64, TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.synthesizer import DefectSynthesizer
from defect_synth.engine.checkpoint import load_checkpoint, save_checkpoint
from defect_synth.errors import CheckpointError, ConfigError, OutputError, UnknownDefectError
from defect_synth.export.generated_folder import generate
from defect_synth.samples import DefectSource


def write_run(root, config=TINY, defects=("cut", "hole")):
    """A run folder with random weights whose masks have both signs."""
    for number, defect in enumerate(defects):
        torch.manual_seed(number)
        network = DFMGAN(config.model)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("noise_strength"):
                    parameter.fill_(0.1)
            network.backbone.mapping.w_avg.normal_()
        card = DFMGANCard(kind="dfmgan", model=config.model, category="nut", defect=defect)
        save_checkpoint(root / "defects" / defect / "model.safetensors", card, network.state_dict())
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def source(run):
    return DefectSynthesizer.load(run)


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "mask", "clean"))


def test_is_a_source_of_every_defect_of_the_run(source):
    assert isinstance(source, DefectSource)
    assert source.category == "nut"
    assert source.defects == ("cut", "hole")
    sample = source.sample("hole", [0])[0]
    assert sample.image.shape == (32, 32, 3)
    assert 0 < sample.mask.mean() < 1


def test_same_seeds_give_the_same_bytes_for_any_batch_order_and_thread_count(tmp_path):
    big = DefectSynthesizer.load(write_run(tmp_path, FAST_64, ("hole",)))
    seeds = list(range(8))
    reference = big.sample("hole", seeds)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (1, 3, 8):
                drawn = [s for i in range(0, 8, size) for s in big.sample("hole", seeds[i : i + size])]
                assert all(same(a, b) for a, b in zip(drawn, reference, strict=True))
            assert all(same(a, b) for a, b in zip(big.sample("hole", seeds[::-1])[::-1], reference, strict=True))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # fewer cores than workers is fine here
def test_items_are_the_same_for_0_1_and_4_workers(run):
    def items(workers):
        dataset = DefectSynthDataset(run, length=12, seed=3)
        loader = DataLoader(dataset, batch_size=3, num_workers=workers)
        return [(b["image"].numpy().tobytes(), b["mask"].numpy().tobytes(), b["label"].tolist()) for b in loader]

    assert items(0) == items(1) == items(4)


def test_a_pickled_source_gives_the_same_bytes(source):
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 10_000
    assert same(copy.sample("cut", [5])[0], source.sample("cut", [5])[0])


def test_one_object_with_several_defects_and_one_defect_code_on_several_objects(source):
    one_object = source.sample("hole", [0, 1, 2], object_seeds=[9, 9, 9])
    assert all(np.array_equal(s.clean, one_object[0].clean) for s in one_object)
    assert not np.array_equal(one_object[0].mask, one_object[1].mask)
    one_code = source.sample("hole", [0, 1], defect_seeds=[4, 4])
    assert not np.array_equal(one_code[0].clean, one_code[1].clean)
    assert one_code[1].provenance.parameters["defect_seed"] == 4


def test_the_clean_image_is_that_of_the_backbone(run):
    source = DefectSynthesizer.load(run, precision="float32")  # by itself it takes bfloat16 where a processor has it
    network = build_generator(load_checkpoint(run / "defects/hole/model.safetensors", DFMGANCard))
    z = draw_codes(3, 3, TINY.model.backbone.z_dim).z_object[None]
    with torch.no_grad():
        image = network.backbone(network.backbone.rows(z))
    expected = (image[0] * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(source.sample("hole", [3])[0].clean, expected)


def test_truncation_zero_makes_all_objects_equal(run):
    source = DefectSynthesizer.load(run, truncation_object=0.0)
    first, second = source.sample("hole", [0, 1])
    assert np.array_equal(first.clean, second.clean)
    assert source.digest != DefectSynthesizer.load(run).digest


def test_misuse_is_named(source, tmp_path):
    with pytest.raises(UnknownDefectError, match="unknown defect 'print' for nut; known: cut, hole"):
        source.sample("print", [0])
    with pytest.raises(ConfigError, match="as many as seeds"):
        source.sample("hole", [0, 1], object_seeds=[1])
    with pytest.raises(CheckpointError, match="no run folder or checkpoint"):
        DefectSynthesizer.load(tmp_path / "nothing")


def files(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_generated_folder_reads_back_and_continues_to_the_same_bytes(source, tmp_path):
    whole = generate(source, tmp_path / "whole", count=20)
    assert (whole / "contact_sheet.png").exists()

    def stop(done, total):
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(source, tmp_path / "cut", count=20, progress=stop)
    half = files(tmp_path / "cut" / "nut")
    assert 0 < len(half) < len(files(whole))
    generate(source, tmp_path / "cut", count=20)
    assert files(tmp_path / "cut" / "nut") == files(whole)

    folder = FolderSource(whole)
    assert folder.defects == ("cut", "hole")
    assert all(same(folder.sample("hole", [i])[0], source.sample("hole", [i])[0]) for i in (0, 19))


def test_folder_of_another_checkpoint_is_refused(source, run, tmp_path):
    generate(source, tmp_path, count=1)
    with pytest.raises(OutputError, match="samples of another source or other settings"):
        generate(DefectSynthesizer.load(run, truncation_defect=0.5), tmp_path, count=2)


@pytest.fixture(scope="module")
def scarce(tmp_path_factory):
    """A run whose masks are empty for about half of the seeds."""
    root = write_run(tmp_path_factory.mktemp("scarce"), defects=("hole",))
    path = root / "defects" / "hole" / "model.safetensors"
    checkpoint = load_checkpoint(path, DFMGANCard)
    network = build_generator(checkpoint)
    most = []
    for seed in range(24):
        code = draw_codes(seed, seed, TINY.model.backbone.z_dim)
        w_object, w_defect = network.backbone.rows(code.z_object[None]), network.defect_rows(code.z_defect[None])
        most.append(float(network.paint(network.trunk(w_object), w_object, w_defect).mask_logits.max()))
    tensors = network.state_dict() | {"residual.to_mask.bias": network.residual.to_mask.bias - float(np.median(most))}
    save_checkpoint(path, checkpoint.card, tensors)
    return root


def test_a_sample_without_a_defect_is_drawn_again_by_its_own_seed(scarce):
    once, again = DefectSynthesizer.load(scarce, redraw=0), DefectSynthesizer.load(scarce)
    first, second = once.sample("hole", range(24)), again.sample("hole", range(24))
    bare = [not sample.mask.any() for sample in first]
    assert 3 < sum(bare) < 21
    assert sum(not sample.mask.any() for sample in second) <= sum(bare) / 4
    for a, b, empty in zip(first, second, bare, strict=True):
        assert same(a, b) or empty
        assert ("redrawn" in b.provenance.parameters) == empty
        assert "redrawn" not in a.provenance.parameters
    alone = [again.sample("hole", [seed])[0] for seed in range(24)]
    assert all(same(a, b) for a, b in zip(alone, second, strict=True))
    assert once.digest != again.digest


def test_given_code_seeds_are_used_even_if_there_is_no_defect(scarce):
    once, again = DefectSynthesizer.load(scarce, redraw=0), DefectSynthesizer.load(scarce)
    asked = again.sample("hole", range(12), defect_seeds=range(12))
    assert all(same(a, b) for a, b in zip(once.sample("hole", range(12)), asked, strict=True))


def test_redraw_has_bounds(scarce):
    with pytest.raises(ConfigError, match="redraw must lie in"):
        DefectSynthesizer.load(scarce, redraw=-1)
