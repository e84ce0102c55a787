"""Text tables: each format is read correctly, or refused with line and column."""

import re
import warnings

import numpy as np
import pytest

from ebmjax.experiments import data
from ebmjax.experiments.data import labels, suspects

RNG = np.random.default_rng(0)
X = np.round(RNG.normal(size=(30, 2)), 4)
Y = RNG.integers(0, 3, 30)
WORDS = np.array(["ape", "cat", "dog"])


def lines(*columns, sep=",", dec=".", head=None):
    """Columns as text, floats with four digits."""
    cells = [[f"{v:.4f}".replace(".", dec) if isinstance(v, float) else str(v) for v in c] for c in columns]  # fmt: skip
    rows = [] if head is None else [head]
    return "\n".join(rows + [sep.join(row) for row in zip(*cells, strict=True)]) + "\n"


A, B = X.T.tolist()
N = range(30)
POINTS = {
    "plain": lines(A, B),
    "header": lines(A, B, head="a,b"),
    "byte-order mark": "\ufeff" + lines(A, B),
    "byte-order mark and header": "\ufeff" + lines(A, B, head="a,b"),
    "utf-16": lines(A, B).encode("utf-16"),
    "carriage returns": lines(A, B).replace("\n", "\r\n"),
    "old carriage returns": lines(A, B).replace("\n", "\r"),
    "semicolons": lines(A, B, sep=";"),
    "tabs": lines(A, B, sep="\t"),
    "bars": lines(A, B, sep="|"),
    "spaces": lines(A, B, sep="  "),
    "spaces after commas": lines(A, B, sep=", ", head="a, b"),
    "decimal commas": lines(A, B, sep=";", dec=","),
    "decimal commas and header": lines(A, B, sep=";", dec=",", head="a;b"),
    "decimal commas and tabs": lines(A, B, sep="\t", dec=","),
    "decimal commas in quotes": "\n".join(f'"{a}","{b}"'.replace(".", ",").replace('",,"', '","') for a, b in X),
    "quotes": "\n".join(f'"{a}","{b}"' for a, b in X),
    "header in quotes": lines(A, B, head='"a","b, too"'),
    "pandas, its index and its header": lines(N, A, B, head=",0,1"),
    "pandas, its index": lines(N, A, B),
    "pandas, its header": lines(A, B, head="0,1"),
    "pandas, a shuffled index": lines(RNG.permutation(30), A, B, head=",a,b"),
    "R, names of rows": lines(N, A, B, sep=" ", head='"a" "b"'),
    "R, csv": lines([f'"{i}"' for i in N], A, B, head='"","a","b"'),
    "a comment above": "# made today\n# a,b\n" + lines(A, B),
    "empty lines": "\n\n" + lines(A, B).replace("\n", "\n\n"),
    "a delimiter at the end of lines": lines(A, B).replace("\n", ",\n"),
    "x and y are coordinates": lines(A, B, head="x,y"),
    "id, a counter": lines(N, A, B, head="id,a,b"),
}  # fmt: skip


def read(tmp_path, text, **options):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return data.load(str(path), **options)


@pytest.mark.parametrize("name", POINTS)
def test_each_format_of_tables_is_read(tmp_path, name):
    found = read(tmp_path, POINTS[name])
    assert np.array_equal(found.x, X) and found.labels is None
    assert "30 rows, 2 columns" in found.notes[0] and "no labels" in found.notes[0]


def test_columns_that_are_left_out_are_named(tmp_path):
    found = read(tmp_path, lines(N, A, [""] * 30, B, head=",a,b,c"))
    assert np.array_equal(found.x, X) and found.columns == ("a", "c")
    assert "column 3 (b) is empty and left out" in found.notes
    assert "column 1 has no heading: an index, left out" in found.notes


LABELLED = {
    "y": lines(A, B, Y, head="a,b,y"),
    "label in front": lines(Y, A, B, head="Label,a,b"),
    "class between": lines(A, Y, B, head="a,class,b"),
    "words": lines(A, B, WORDS[Y], head="a,b,species"),
    "words without a header": lines(A, B, WORDS[Y]),
    "signs": lines(A, B, 2 * Y - 7, head="a,b,target"),
    "whole floats": lines(A, B, Y.astype(float).tolist(), head="a,b,y"),
    "counted": lines(N, A, B, Y, head=",a,b,label"),
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_column_of_labels_is_found_wherever_it_is(tmp_path, name):
    found = read(tmp_path, LABELLED[name])
    assert np.array_equal(found.x, X) and np.array_equal(found.labels, Y)
    assert "labels in column" in found.notes[0] and "3 classes" in found.notes[-1]


@pytest.mark.parametrize("front", [True, False])
def test_labels_without_a_heading_are_not_guessed(tmp_path, front):
    """A coordinate or labels: the caller decides, by number, by header, or none."""
    text = lines(Y, A, B) if front else lines(A, B, Y)
    column = "1" if front else "3"
    with pytest.raises(data.DataError, match=f"column {column} holds 3 whole numbers"):
        read(tmp_path, text)
    assert np.array_equal(read(tmp_path, text, labels=column).labels, Y)
    assert read(tmp_path, text, labels="none").x.shape == (30, 3)
    headed = ("kind,a,b\n" if front else "a,b,kind\n") + text
    with pytest.warns(UserWarning, match=r"\(kind\) holds 3 whole numbers .* --labels"):
        assert read(tmp_path, headed).x.shape == (30, 3)
    assert np.array_equal(read(tmp_path, headed, labels="kind").labels, Y)


def test_a_column_of_labels_is_chosen_or_refused(tmp_path):
    text = lines(A, Y, head="x,y")
    with pytest.warns(UserWarning, match="column 2"):
        assert read(tmp_path, text).x.shape == (30, 2)  # y beside x is a coordinate
    assert np.array_equal(read(tmp_path, text, labels="y").labels, Y)
    with pytest.raises(data.DataError, match="no column 'z' for labels; it has x, y"):
        read(tmp_path, text, labels="z")
    two = lines(A, Y, Y, head="a,label,class")
    with pytest.raises(
        data.DataError, match="may hold the labels; choose with --labels"
    ):
        read(tmp_path, two)
    # a heading y over fractions is a coordinate
    assert read(tmp_path, lines(A, B, head="a,y")).x.shape == (30, 2)


def test_a_header_can_be_requested(tmp_path):
    years = lines(A, B, head="2019,2020")
    with pytest.warns(UserWarning, match="its first row .* --header yes makes it"):
        assert len(read(tmp_path, years).x) == 31
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(tmp_path, years, header="no").x) == 31
        assert len(read(tmp_path, lines(N, range(9, 39))).x) == 30
    assert len(read(tmp_path, years, header="yes").x) == 30
    assert len(read(tmp_path, lines(A, B, head="0,1"), header="no").x) == 31
    bits = "0,1\n1,0\n1,1\n"
    assert len(read(tmp_path, bits).x) == 3  # bits, not the header of pandas
    with pytest.raises(data.DataError, match="header must be auto, yes or no"):
        read(tmp_path, bits, header="maybe")


BAD = {
    "empty": ("\n\n", "is empty"),
    "ragged": ("1,2\n3\n", "is ragged: line 2 has 1 values, the first has 2"),
    "ragged below": ("1,2\n3\n4\n5\n6\n", "is ragged: line 2"),
    "too long": ("1,2\n3,4\n\n3,4,5\n", "is ragged: line 4 has 3 values"),
    "words": ("1,2\n3,four\n", "must be numeric: line 2, column 2 reads 'four'"),
    "first row missing": ("NA,2\n3,4\n", "line 1, column 1 reads 'NA', a missing value"),
    "first cell missing": (",2\n3,4\n", "line 1, column 1 reads '', a missing value"),
    "missing": ("a,b\n1,2\n3,\n", "line 3, column 2 (b) reads '', a missing value"),
    "null": ("a,b\n1,2\nnull,3\n", "line 3, column 1 (a) reads 'null'"),
    "nan": ("1,2\n3,nan\n", "must be finite"),
    "infinite": ("1,2\n3,inf\n", "must be finite"),
    "header alone": ("a,b\n", "got an array of shape (0, 2)"),
    "thousands": ('"1,234","2,345"\n"3,456","1,111"\n', "may be decimal or divide thousands"),
    "thousands of both kinds": ("1.234,5;2,5\n3,5;1,5\n", "line 1, column 1 reads '1.234,5'"),
    "underscores": ("1_000,2\n3,4\n", "line 1, column 1 reads '1_000'"),
    "hexadecimal": ("1,2\n3,0x10\n", "line 2, column 2 reads '0x10'"),
    "an open quote": ('1,"2\n3,4\n5,6\n', "cannot be split into cells"),
    "zero bytes": ("1,2\0\n3,4\n", "is not text: it holds zero bytes"),
    "a picture": (bytes(range(128, 256)), "is not text in UTF-8"),
    "a label missing": ("a,label\n1.5,0\n2.5,\n", "has no label in line 3"),
    "two words": ("a,b\nx,y\nz,w\n", "line 2, column 1 (a) reads 'x'"),
    "labels alone": ("label\n1\n2\n1\n2\n", "no column of coordinates"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_refused_with_line_and_column(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(data.DataError) as error:
        read(tmp_path, text)
    assert message in str(error.value) and "mine.csv" in str(error.value)


@pytest.mark.parametrize("suffix", ["tsv", "txt", "CSV"])
def test_tables_by_other_suffixes(tmp_path, suffix):
    np.savetxt(tmp_path / f"mine.{suffix}", X, header="a b")
    found = data.load(str(tmp_path / f"mine.{suffix}"))
    assert np.array_equal(found.x, X) and found.columns == ("a", "b")


@pytest.mark.parametrize("suffix", ["csv", "npy"])
@pytest.mark.parametrize("code", [-999.0, 99999.0])
def test_codes_of_missing_values_are_named(tmp_path, suffix, code):
    """Not where other values reach as far, and not for other numbers."""
    path = tmp_path / f"mine.{suffix}"
    save = np.save if suffix == "npy" else lambda f, x: np.savetxt(f, x, delimiter=",")
    with_code, x = X.copy(), X.copy()
    with_code[[3, 5], 1] = x[[3, 5], 1] = code
    x[4, 1] = 0.9 * code
    save(path, with_code)
    with pytest.warns(
        UserWarning, match=f"column 2 of the points holds {code:g} 2 tim"
    ):
        data.load(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (x, with_code * 500, 400 * X + code * (X > 1)):
            save(path, other)
            data.load(str(path))


@pytest.mark.parametrize("code", [99, 999, 9999, 99_999, 999_999])
def test_each_usual_code_of_a_missing_value_is_known(code):
    for signed in (code, -code, code - 1):
        x = X.copy()
        x[3, 1] = signed
        found = suspects.missing_code(x)
        assert found == (None if signed == code - 1 else (1, signed, 1))


@pytest.mark.parametrize("bad", [1.5, np.nan, 2.0**60])
def test_labels_that_are_no_whole_numbers_are_shown(bad):
    values = np.array([0.0, 1.0, bad, 1.0])
    shown = "0.0, 1.0, 1.152" if bad > 2 else re.escape(str(float(bad)))
    with pytest.raises(data.DataError, match=rf"must hold whole labels, got \[{shown}"):
        labels.encode("mine", values, 4)
