"""Two commands that write one folder at once: each ends well or with one line, and the folder is not spoilt."""

from __future__ import annotations

import pytest

from tests.crash.test_kills import COMMANDS, files_of, fresh, inputs, undisturbed  # noqa: F401 - fixtures
from tests.forked import command, fork, run_forked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]


@pytest.mark.parametrize("name", COMMANDS)
def test_two_equal_commands_leave_the_folder_of_one(name, inputs, undisturbed, tmp_path):  # noqa: F811
    whole, work, told = undisturbed(name), fresh(inputs, tmp_path / "work"), COMMANDS[name]

    both = [fork(command(*told.arguments), work) for _ in range(2)]
    ended = [one.wait() for one in both]

    for one in ended:
        assert one.code in (0, 2), (one.signal, one.err[-2000:])
        if one.code == 2:
            assert one.err.splitlines()[-1].startswith("error: "), one.err[-2000:]
    assert 0 in [one.code for one in ended], [one.err for one in ended]
    if not told.refused:
        again = run_forked(command(*told.arguments, *told.again), work)
        assert again.code == 0, again.err[-2000:]
    assert files_of(work / "out") == whole.files


def test_two_sources_do_not_mix_in_one_folder(inputs, tmp_path):  # noqa: F811
    work = fresh(inputs, tmp_path / "work")
    run = ("generate", "run", "-o", "out", "--count", "12", "--device", "cpu")
    truncated = (*run, "--truncation-object", "0.5")

    both = [fork(command(*arguments), work) for arguments in (run, truncated)]
    ended = [one.wait() for one in both]

    assert sorted(one.code for one in ended) == [0, 2], [one.err for one in ended]
    first = run if ended[0].code == 0 else truncated
    assert run_forked(command(*first), work).code == 0
    alone = fresh(inputs, tmp_path / "alone")
    assert run_forked(command(*first), alone).code == 0
    assert files_of(work / "out") == files_of(alone / "out")
