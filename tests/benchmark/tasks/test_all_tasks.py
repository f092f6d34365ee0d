"""All tasks have the one interface, and a place in the results."""

from __future__ import annotations

import typing

import pytest

from defect_synth.benchmark.arms import ARMS
from defect_synth.benchmark.protocol import load_protocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tasks.all_tasks import TASKS
from defect_synth.benchmark.tasks.task import Trial

ALL = load_protocol("paper", {"probe": {}, "detection": {}, "seeds": 2, "ratios": [1.0, 3.0]})


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_names_the_field_of_the_results_that_holds_its_records(task):
    assert typing.get_args(BenchmarkResults.model_fields[task.name].annotation)[0] is task.record


@pytest.mark.parametrize(
    ("task", "arms", "trials_of_real_and_painter"),
    [
        # ratios x seeds; arms without categories are excluded
        ("classification", {a.name for a in ARMS.values() if a.labelled}, 
         [Trial(1, 0), Trial(1, 1), Trial(3, 0), Trial(3, 1)]),
        ("detection", {a.name for a in ARMS.values() if a.masks != "none"}, [Trial(1, 0), Trial(1, 1)]),
        ("probe", {a.name for a in ARMS.values() if a.labelled}, [Trial(1), Trial(3)]),
        ("quality", {a.name for a in ARMS.values() if a.system}, []),
        ("segmentation", set(ALL.segmentation.arms) - {a.name for a in ARMS.values() if a.masks == "none"},
         [Trial(1, 0), Trial(1, 1)]),
        ("thresholds", {"real", *ALL.threshold.arms}, [Trial(1)]),
    ],
)  # fmt: skip
def test_a_task_has_trials_for_the_arms_that_take_part(tmp_path, task, arms, trials_of_real_and_painter):
    [made] = [each.from_protocol(ALL, "cpu", tmp_path) for each in TASKS if each.name == task]
    assert {arm.name for arm in ARMS.values() if made.trials(arm)} == arms
    assert list(made.trials(ARMS["real + painter"])) == trials_of_real_and_painter
    assert all(not made.trials(arm) for arm in ARMS.values() if made.exclusion(arm))


def test_a_protocol_without_a_section_leaves_its_task_out(tmp_path):
    bare = load_protocol("quick", {"segmentation": None, "threshold": None, "quality": None})
    made = [task.from_protocol(bare, "cpu", tmp_path) for task in TASKS]
    assert [task.name for task in made if task is not None] == ["classification"]
