"""Imports point to the left only; the order is the picture in docs/architecture.md."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "defect_synth"
ORDER = """
    errors names files samples config atomic
    nn data weights
    product export engine metrics
    dfmgan
    painter compositor baselines demo
    open
    augment datasets
    benchmark
    cli __main__
"""
# The same inside each room, from the files that know nothing of the others to those that bring all together; a folder
# counts as one. " |" at the end of a line: the next one continues it.
INSIDE = {
    "augment": """
        adapters image_context image_files part_pictures settings web_page
        check_page inserter preview
        paint_inserter paste_inserter
        augmenter
    """,
    "baselines": """
        anomaly_source cdc_discriminator cdc_losses crop_paste differentiable_augmentation image_gan_source |
        perlin_noise system translation translation_losses translation_networks
        cutout cutpaste defect_gan_networks image_gan sdgan_networks textures
        cdc defect_gan_source diffaug finetune perlin sdgan_source
        defect_gan sdgan
        train
    """,
    "benchmark": """
        labelled partitioning progress quality_networks request result_store sources standard_augmentation |
        statistics
        context task_results
        downstream partition_data results
        arms environment tables
        comparisons protocol synthetic_images
        product tasks
        generators plan report
        results_builder
        partition_run
        run
    """,
    "cli": """
        settings terminal
        check export import_snapshot pack preview progress
        bank benchmark demo_data generate info methods paint quality
        train
    """,
    "compositor": """
        image_region membrane quality_check real_source recorded_defect visible_change
        bank pixels placement transfer
        paste
        painted_patch
    """,
    "data": """
        coco_mask folder_cache generated images png
        records
        folders masks partitions
        check coco csv_table square
        store visa
        layouts
    """,
    "datasets": """
        cache class_balance joint_transform
        defect_dataset
    """,
    "demo": """
        models nut
        noise
        shell
        photograph
        surface_patch
        cut fissures stamp
        crack hole
        defects
        hazelnut
        mvtec_folder
    """,
    "dfmgan": """
        code_pair config losses mask_limits small_components snapshot_score
        ada backbone discriminators latents residual
        generator precision training_images
        checkpoint cost objectives official region_painting
        adversarial_stage bundle fixed_samples memory sampling
        pretrain synthesizer
        transfer
        train
    """,
    "engine": """
        checkpoint contact_sheet distributed draws log
        image_batches run_folder stage
        snapshot
        loop
        runner
    """,
    "export": """
        contact_sheet labels objects outlines writing
        coco generated_folder labelme mvtec webdataset yolo
    """,
    "metrics": """
        agreement array_cache collapse crops installed_weights kid mask_realism neighbours pooling |
        quality_report weights_file
        efficientnet features inception lpips memorisation network_features precision_recall
        clustered_lpips measurements
        quality_figures
        quality
    """,
    "nn": """
        batch_norm bias_act device memory native threads torchvision_import weight_cache
        demodulation upfirdn
        convolution_kernels
        convolution_gradients
        convolution
        layers
    """,
    "painter": """
        appearance blending codes config fill layers quality_check registration texture window
        donor_matching network product_card random_views training_images
        checkpoint discriminators distill donors mask_proposals
        product_assets region_painting training_batches
        painter_base training_set
        onnx painter stages
        onnx_export train
    """,
    "product": """
        exemplar foreground frame locations mask_edits recent_images symmetry
        polar
        pose
        arrangement common_frame shapes surroundings
        arrangement_check
        likeness region
        mask_source
    """,
    "weights": """
        budget finite safetensors_file
        stand_ins
        pickle_machine
        torch_file
    """,
}
RANK = {name: rank for rank, line in enumerate(ORDER.strip().splitlines()) for name in line.split()}
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
}
FACADE = "defect_synth"  # public names, loaded lazily: points everywhere, and holds only a version of its own
ONLY_IMPORTERS = {"albumentations": {"albumentations.py", "standard_augmentation.py"}, "anomalib": {"anomalib.py"}}


@cache
def imported(file):
    """Full dotted names a file imports anywhere, in functions too; `from package import module` gives the module."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            names.update(name if name in MODULES else node.module for name in full)
    return names


def arrows(module):
    return {name for name in imported(MODULES[module]) if name in MODULES and name != FACADE}


@pytest.mark.parametrize("module", [m for m in MODULES if m != FACADE])
def test_no_import_points_to_the_right(module):
    room = module.split(".")[1]
    assert room in RANK, f"{room} has no place in the order"
    wrong = [name for name in arrows(module) if RANK[name.split(".")[1]] > RANK[room]]
    assert not wrong, f"{module} imports {wrong}"


def place_inside(module):
    """(room, rank) of a module inside its room; None for a module that is no file of a room."""
    _, room, *inside = module.split(".")
    if not inside:
        return None
    lines = INSIDE[room].replace(" |\n", " ").strip().splitlines()
    ranks = {name: rank for rank, line in enumerate(lines) for name in line.split()}
    assert inside[0] in ranks, f"{inside[0]} has no place in the order of {room}"
    return room, ranks[inside[0]]


@pytest.mark.parametrize("module", [m for m in MODULES if m.count(".") > 1])
def test_no_import_points_up_inside_a_room(module):
    room, rank = place_inside(module)
    within = [name for name in arrows(module) if name.count(".") > 1 and name.split(".")[1] == room]
    wrong = [name for name in within if place_inside(name)[1] > rank]
    assert not wrong, f"{module} imports {wrong}"


def test_no_modules_import_each_other_in_a_ring():
    TopologicalSorter({m: arrows(m) - {m} for m in MODULES if m != FACADE}).prepare()  # CycleError names the ring


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_a_host_library_is_imported_by_its_own_files_only(library):
    importers = {f.name for f in FILES if any(name.split(".")[0] == library for name in imported(f))}
    assert importers <= ONLY_IMPORTERS[library]
