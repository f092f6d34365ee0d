from defect_synth.baselines.image_gan import second_schedule
from defect_synth.config import override
from defect_synth.dfmgan.config import TINY


def test_the_second_schedule_takes_the_place_of_the_first():
    config = override(TINY, {"transfer.learning_rate": 0.007, "transfer.total_kimg": 0.5})
    moved = second_schedule(config).pretrain
    assert (moved.learning_rate, moved.total_kimg) == (0.007, 0.5)
    assert second_schedule(config).model == config.model
