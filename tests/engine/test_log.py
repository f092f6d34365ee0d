from __future__ import annotations

import json

from defect_synth.engine.log import STATS, Log, Tick


def test_a_row_is_the_mean_over_the_iterations_in_which_a_phase_took_part():
    tick = Tick()
    tick.add({"generator": 1.0, "r1": 10.0})
    tick.add({"generator": 2.0})
    tick.add({"generator": 6.0})
    assert tick.finish() == {"generator": 3.0, "r1": 10.0}
    assert tick.finish() == {}


def test_a_tick_continues_from_its_state():
    whole, first, second = Tick(), Tick(), Tick()
    values = [0.1, 0.7, 1 / 3, 1e-9]
    for value in values:
        whole.add({"a": value})
    for value in values[:3]:
        first.add({"a": value})
    second.load({**first.state(), "iteration": 3.0, "ada.sum": 1.0})
    second.add({"a": values[3]})
    assert second.finish() == whole.finish()  # the same bits


def test_a_finished_tick_has_no_state():
    tick = Tick()
    tick.add({"a": 1.0})
    tick.finish()
    assert tick.state() == {}


def test_a_resumed_log_drops_rows_after_the_snapshot_and_what_is_no_row(tmp_path):
    log = Log(tmp_path, 0)
    for iteration in (4, 8, 12):
        log.write(iteration, iteration / 1000, {"loss": float(iteration)}, 3.5)
    log.close()
    with (tmp_path / STATS).open("a") as file:
        file.write('[1]\nnull\n{"kimg": 1}\n{"iteration": "8"}\n{"iteration": 13, "lo')

    log = Log(tmp_path, 8)
    log.write(12, 0.012, {"loss": 12.0}, 3.5)
    log.close()

    rows = [json.loads(line) for line in (tmp_path / STATS).read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [4, 8, 12]
    assert rows[-1] == {"iteration": 12, "kimg": 0.012, "loss": 12.0, "images_per_second": 3.5}
