"""Time left, as logs show it."""

from __future__ import annotations

from defect_synth.cli import progress


def lines(monkeypatch, capsys, steps) -> list[str]:
    """What is printed for (seconds, done, total)."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar("work") as update:
        for seconds, done, total in steps:
            now[0] = seconds
            update(done, total)
    return capsys.readouterr().err.splitlines()


def test_time_left_of_work_that_was_continued_counts_only_what_is_done_now(monkeypatch, capsys):
    # 5 of 9 were there already; 1 more took 2 minutes: 3 more take 6.
    assert lines(monkeypatch, capsys, [(1.0, 5, 9), (121.0, 6, 9)]) == ["work: 6 of 9, about 6 min left"]


def test_time_left_starts_anew_with_the_next_piece_of_work(monkeypatch, capsys):
    shown = lines(monkeypatch, capsys, [(0.0, 0, 4), (240.0, 4, 4), (241.0, 0, 4), (361.0, 1, 4)])
    assert shown == ["work: 4 of 4", "work: 1 of 4, about 6 min left"]


def test_steps_without_a_meaning_are_shown_as_a_share(capsys):
    with progress.bar("quality", percent=True) as update:
        update(24, 24, "hole: figures")
    assert capsys.readouterr().err.splitlines() == ["hole: figures: 100 %"]
