from __future__ import annotations

import pytest
import torch

from defect_synth.nn.threads import map_on_threads


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_item_is_computed_in_order_on_one_thread_and_the_setting_comes_back(threads, count):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert map_on_threads(lambda item: (item, torch.get_num_threads()), range(count)) == [
            (item, 1) for item in range(count)
        ]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_setting_comes_back_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            map_on_threads(lambda item: 1 // item, [1, 0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
