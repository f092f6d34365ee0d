import statistics
from pathlib import Path

import pytest

from defect_synth.benchmark.arms import ARMS, choose_arms
from defect_synth.benchmark.protocol import BUILT_IN, load_protocol
from defect_synth.benchmark.tables.published import published
from defect_synth.errors import ConfigError

PUBLISHED_PROTOCOLS = sorted((Path(__file__).parents[2] / "benchmarks" / "protocols").glob("*.toml"))


@pytest.mark.parametrize("name", [*BUILT_IN, *map(str, PUBLISHED_PROTOCOLS)])
def test_every_protocol_file_can_be_run(name):
    protocol = load_protocol(name)
    assert protocol.train_config().model.backbone.resolution in (64, 128, 256)
    arms = choose_arms(protocol.arms)
    assert arms[0].name == "real"
    for part in (protocol.segmentation, protocol.threshold):
        assert part is None or set(part.arms) <= set(ARMS)
    assert name in BUILT_IN or protocol.published


def test_a_protocol_exists_for_each_published_result():
    assert {path.stem for path in PUBLISHED_PROTOCOLS} >= {"dfmgan_aaai2023_table2", "anomalydiffusion_aaai2024_table4"}


def test_the_protocol_paper_has_the_numbers_of_the_paper():
    protocol = load_protocol("paper")
    assert (protocol.partitions, protocol.per_defect, protocol.shots) == (("P1", "P2", "P3"), 1000, "all")
    assert (protocol.classifier.architecture, protocol.preset) == ("resnet34", "PAPER_256")


def test_options_replace_fields(tmp_path):
    changed = load_protocol("quick", {"classifier.steps": 7, "shots": 5, "partitions": ["R1"]})
    assert (changed.classifier.steps, changed.shots, changed.partitions) == (7, 5, ("R1",))
    assert changed.classifier.batch == load_protocol("quick").classifier.batch
    (tmp_path / "mine.toml").write_text("seeds = 3\n")
    assert (load_protocol(str(tmp_path / "mine.toml")).name, load_protocol(str(tmp_path / "mine.toml")).seeds) == (
        "mine",
        3,
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fast", {}, "no protocol 'fast'; known: quick, full, paper"),
        ("quick", {"seeds": 0}, "seeds: .*greater than or equal to 1"),
        ("quick", {"classifier.stops": 3}, r"classifier\.stops"),
        ("quick", {"shots": "few"}, "shots"),
    ],
)
def test_wrong_fields_and_values_are_named(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_protocol(name, changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["real", "dfmgan"]}, r"unknown arm 'dfmgan'; known: real, .*, or all"),
        ({"arms": ["real + DFMGAN"]}, "the arms must include 'real'"),
        ({"segmentation.arms": ["real", "paste"]}, r"segmentation\.arms: unknown arm 'paste'; known: real, "),
        ({"threshold.arms": ["paste"]}, r"threshold\.arms: unknown arm 'paste'; known: real, "),
        (
            {"segmentation.arms": ["real", "real + Perlin"]},
            r"segmentation\.arms: 'real \+ Perlin' is not among the arms of this benchmark; they are: real, ",
        ),
        (
            {"arms": ["real", "real + Cutout"], "threshold.arms": ["real + painter"]},
            r"threshold\.arms: 'real \+ painter' is not among .*; they are: real, real \+ Cutout$",
        ),
        ({"systems": {"gan": {}}}, "systems: unknown method 'gan'; known: finetune, diffaug, cdc, sdgan, defect-gan"),
        ({"systems": {"cdc": {"x": 1}}}, r"systems\.cdc: 'CDC only' is not among the arms"),
        ({"textures": "dtd"}, r"textures: 'real \+ Perlin' is not among the arms"),
        ({"preset": "FAST"}, "unknown preset 'FAST'"),
        ({"painter_preset": "FAST"}, "unknown painter_preset 'FAST'"),
        ({"generator": {"pretrain.rate": 1}}, "unknown setting 'pretrain.rate'"),
    ],
)
def test_a_name_that_would_have_no_effect_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_protocol("quick", changes)


def test_fewer_arms_narrow_the_sections_of_a_file():
    narrowed = load_protocol("quick", {"arms": ["real", "real + painter"]})
    assert narrowed.segmentation.arms == ("real", "real + painter")
    assert narrowed.threshold.arms == ("real + painter",)
    assert load_protocol("quick", {"arms": ["all"]}).threshold.arms == load_protocol("quick").threshold.arms


def test_narrowing_keeps_unknown_names_to_be_refused(tmp_path):
    (tmp_path / "mine.toml").write_text('arms = ["real"]\n[segmentation]\narms = ["real", "paste", "real + Cutout"]\n')
    with pytest.raises(ConfigError, match=r"segmentation\.arms: unknown arm 'paste'"):
        load_protocol(str(tmp_path / "mine.toml"), {"arms": ["real"]})


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "x.toml").write_text("seeds =")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_protocol(str(tmp_path / "x.toml"))


def test_arms_are_chosen_by_name():
    assert [arm.name for arm in choose_arms(("real + DFMGAN", "real"))] == ["real", "real + DFMGAN"]
    assert len(choose_arms(("all",))) == len(ARMS)
    with pytest.raises(ConfigError, match="unknown arm 'dfmgan'; known: real, "):
        choose_arms(("real", "dfmgan"))
    with pytest.raises(ConfigError, match="must include 'real'"):
        choose_arms(("real + DFMGAN",))


def test_published_figures_equal_those_in_print():
    rows = {(p.publication[:11], p.table, p.method): p.figures for p in published("hazelnut", "classification")}
    ours = rows["Duan et al.", "Table 2", "DFMGAN"]
    assert ours == (83.33, 81.25, 81.25)
    # AnomalyDiffusion's table repeats the means over the three partitions.
    for method in ("DiffAug", "CDC", "Crop&Paste", "SDGAN", "Defect-GAN", "DFMGAN"):
        mean = statistics.fmean(rows["Duan et al.", "Table 2", method])
        assert rows["Hu et al., ", "Table 4", method][0] == pytest.approx(mean, abs=0.01)
    bottle = {p.method: p.figures for p in published("bottle", "classification")}
    assert (bottle["DFMGAN"], bottle["AnomalyDiffusion"]) == ((56.59,), (90.70,))
    hazelnut = {p.method: p.figures for p in published("hazelnut", "segmentation")}
    assert hazelnut["DFMGAN"] == (99.7, 95.2, 89.5)
    assert published("bolt", "classification") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = " + "[" * 100_000, "is not TOML"),
        ("seeds = " + "1" * 10_000, "is not TOML"),
        ("classifier = 3", "classifier must be a table"),
        ("segmentation = []", "segmentation must be a table"),
        ("systems = 'x'", "systems must be a table"),
        ("per_defect = 1000000000", "per_defect: .*got 1000000000"),
        ("minutes = inf", "minutes: .*got inf"),
        ("minutes = nan", "minutes: .*got nan"),
        ("painter_minutes = inf", "painter_minutes: "),
        ("ratios = []", "ratios: "),
        ("ratios = [nan]", "ratios.0: "),
        ("ratios = [-1.0]", "ratios.0: "),
        ("arms = []", "arms: "),
        ("partitions = []", "partitions: "),
        ("seeds = -1", "seeds: "),
        ("[product]\ngood = 1000000000", "product.good: "),
        ("[classifier]\nsteps = 100000000000", "classifier.steps: "),
        ("[classifier]\nlearning_rates = [inf]", "classifier.learning_rates.0: "),
        ("[segmentation]\nchannels = 1000000000", "segmentation.channels: "),
        ("[quality]\ncount = 1000000000", "quality.count: "),
        ("name = ['x']", "name: "),
    ],
)
def test_a_protocol_out_of_its_bounds_is_one_line(text, expected, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected) as refused:
        load_protocol(str(path), {"classifier.steps": 3} if text == "classifier = 3" else None)
    assert "\n" not in str(refused.value)
