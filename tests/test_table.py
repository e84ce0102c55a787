"""The printer of tables: layout in text and in HTML."""

import numpy as np
import pytest

from ebmjax import _table

COLUMNS = {"mean": np.array([0.5, 123456.0]), "n": [3, 4], "what": ["a<b", "c"]}


def test_a_table_as_text():
    lines = _table.text(COLUMNS, ["x", "long name"]).splitlines()
    assert lines == [
        "                mean  n  what",
        "x                0.5  3  a<b",
        "long name  1.235e+05  4  c",
    ]
    assert _table.text({"mean": [0.5]}, formats={"mean": ".2f"}).split() == [
        "mean",
        "0.50",
    ]


def test_html_is_escaped():
    found = _table.html(COLUMNS, ["x", "y"])
    assert "<td>a&lt;b</td>" in found and found.count("<tr>") == 3
    assert _table.paragraphs(["a < b"]) == "<p>a &lt; b</p>"


def test_columns_of_other_lengths():
    with pytest.raises(
        ValueError, match=r"columns must be of one length, got \[2, 3\]"
    ):
        _table.text({"a": [1, 2], "b": [1, 2, 3]})
