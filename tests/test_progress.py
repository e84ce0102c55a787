"""Progress: text with brackets is shown as it is."""

import io

import pytest

from ebmjax.sampling import progress


def test_a_text_with_brackets_is_no_markup(monkeypatch):
    pytest.importorskip("rich")
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    report = progress._bar("sampling [v2]")
    report(1, 2, "saved in /data[/b]/run")
    report(2, 2, "saved in /data[/b]/run")
    assert "sampling [v2]" in stream.getvalue()


def test_other_values_are_refused():
    with pytest.raises(TypeError, match="progress must be True, False or a function"):
        progress.reporter("yes", "sampling")
