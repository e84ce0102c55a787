"""Progress: text with brackets is shown as it is."""

import io

import pytest

from ebmjax.sampling import progress


def test_brackets_in_a_text_are_no_markup(monkeypatch):
    pytest.importorskip("rich")
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    report = progress._bar("sampling [v2]")
    report(1, 2, "saved in /data[/b]/run")
    report(2, 2, "saved in /data[/b]/run")
    assert "sampling [v2]" in stream.getvalue()


def test_bad_values_of_progress_are_refused():
    with pytest.raises(TypeError, match="progress must be True, False or a function"):
        progress.reporter("yes", "sampling")
