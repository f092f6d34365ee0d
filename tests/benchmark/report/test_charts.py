from __future__ import annotations

from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from defect_synth.benchmark.report.charts import Bar, Series, confusion_matrix, forest_plot, line_chart


def test_every_chart_is_well_formed_and_inside_its_frame():
    charts = [
        forest_plot([Bar("a < b", 3, -2, 8, "+3"), Bar("c", -4, -5, -3, "-4"), Bar("d", 0, 0, 0, "0")], "t"),
        line_chart([Series("a", (1, 2, 5), (0.1, 0.5, 0.3)), Series("b", (1,), (7,))], "t", "x", "y"),
        line_chart([Series("flat", (3,), (2.0,))], "t", "x", "y"),
        confusion_matrix([[3, 0], [1, 9]], ("cut", "hole"), "t"),
    ]
    for chart in charts:
        assert isinstance(chart, Markup)
        root = ElementTree.fromstring(chart)
        _, _, width, height = map(float, root.get("viewBox").split())
        for node in root.iter():
            for name, limit in (("x1", width), ("x2", width), ("cx", width), ("y1", height), ("y2", height)):
                if node.get(name) is not None:
                    assert -1e-6 <= float(node.get(name)) <= limit, (name, node.attrib)


def test_the_forest_plot_puts_dots_where_the_values_are():
    root = ElementTree.fromstring(forest_plot([Bar("a", 10, 5, 15, "", "up"), Bar("b", -10, -15, -5, "")], "t"))
    dots = [float(n.get("cx")) for n in root.iter() if n.tag.endswith("circle")]
    zero = next(float(n.get("x1")) for n in root.iter() if n.get("class") == "zero")
    assert dots[0] - zero == pytest.approx(zero - dots[1], abs=0.2)
    assert dots[0] > zero
    kinds = [n.get("class") for n in root.iter() if n.tag.endswith("circle")]
    assert kinds == ["dot up", "dot flat"]


def test_names_in_charts_are_escaped():
    chart = line_chart([Series("<b>&", (1, 2), (0, 1))], "<title>", "<x>", "<y>")
    assert "&lt;b&gt;&amp;" in chart
    assert not any(tag in chart for tag in ("<b>", "<title><", "<x>", "<y>"))
