from __future__ import annotations

from defect_synth.dfmgan.code_pair import draw_codes, redraw_codes


def test_each_code_is_a_function_of_its_own_seed():
    codes = draw_codes(3, 5, 8)
    assert codes.z_object.shape == codes.z_defect.shape == (8,)
    assert draw_codes(3, 6, 8).z_object.equal(codes.z_object)
    assert draw_codes(4, 5, 8).z_defect.equal(codes.z_defect)
    assert not draw_codes(4, 6, 8).z_object.equal(codes.z_object)
    assert not draw_codes(4, 6, 8).z_defect.equal(codes.z_defect)


def test_equal_seeds_give_independent_codes():
    codes = draw_codes(3, 3, 8)
    assert not codes.z_defect.equal(codes.z_object)


def test_a_redrawn_sample_has_another_defect_and_another_object_only_if_asked():
    first = draw_codes(3, 3, 8)
    again = redraw_codes(3, 1, 8, other_object=False)
    assert again.z_object.equal(first.z_object)
    assert not again.z_defect.equal(first.z_defect)
    assert not redraw_codes(3, 2, 8, other_object=False).z_defect.equal(again.z_defect)
    assert not redraw_codes(3, 1, 8, other_object=True).z_object.equal(first.z_object)
