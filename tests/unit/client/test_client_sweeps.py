"""Rows of a CSV file as jobs, and lines of JSON as jobs: what is put where, and which mistake is said how."""

import io

import pytest

from xwhep.client import sweeps
from xwhep.client.commands import batch
from xwhep.common.errors import UsageError
from xwhep.common.wire import JobSpec


def read(text):
    return sweeps.read_rows(io.StringIO(text, newline=""), "f.csv")


def test_rows_have_their_values_and_lines():
    rows = read('\ufeffname,n\n"a, b",1\n\n"two\nlines",2\r\n')
    assert [(row.line, row.values) for row in rows] == [
        (2, {"name": "a, b", "n": "1"}),
        (5, {"name": "two\nlines", "n": "2"}),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f.csv is empty"),
        ("\n\n", "f.csv is empty"),
        ("a,b\n", "no row"),
        ("a,b\n1,2\n3\n", "line 3 of f.csv has 1 values for 2 columns"),
        ("a,b\n1,2,3\n", "line 2 of f.csv has 3 values"),
        ("a,b,a\n1,2,3\n", "line 1 of f.csv names the column 'a' 2 times"),
        ("a,\n1,2\n", "line 1 of f.csv: ''"),
        ("a{,b\n1,2\n", "line 1 of f.csv: 'a{'"),
        ('a,b\n1,"2\n', "line 2 of f.csv is no CSV"),
        ('a,b\n1,"2"x\n', "line 2 of f.csv is no CSV"),
    ],
)
def test_a_wrong_file_says_where(text, words):
    with pytest.raises(UsageError) as refused:
        read(text)
    assert words in str(refused.value)
    assert refused.value.next_step


def test_what_is_not_utf8_is_said(tmp_path):
    (tmp_path / "f.csv").write_bytes(b"a\n1\n\xff\n")
    with (tmp_path / "f.csv").open(encoding="utf-8", newline="") as file, pytest.raises(UsageError, match="UTF-8"):
        sweeps.read_rows(file, "f.csv")


TYPED = JobSpec(
    app="a{x}",
    args=["--x={x}", "{y}{x}", "{{x}}"],
    env={"E": "{y}"},
    stdin="./{x}.in",
    data=["in.csv={y}"],
    label="x={x}",
)


def test_values_go_where_people_write_words():
    spec = sweeps.filled(TYPED, sweeps.Row(2, {"x": "1", "y": "{x}"}), "line 2")
    assert spec.app == "a{x}"
    assert spec.args == ["--x=1", "{x}1", "{x}"]
    assert (spec.env, spec.stdin, spec.data, spec.label) == ({"E": "{x}"}, "./1.in", ["in.csv={x}"], "x=1")


@pytest.mark.parametrize(
    ("word", "words"), [("{z}", "line 2: there is no column {z}; the columns are x, y"), ("{", "alone"), ("}", "alone")]
)
def test_an_unknown_column_names_those_there_are(word, words):
    with pytest.raises(UsageError) as refused:
        sweeps.filled(JobSpec(app="a", args=[word]), sweeps.Row(2, {"x": "1", "y": "2"}), "line 2")
    assert words in str(refused.value)


def test_lines_of_json_are_jobs():
    found = batch.parse([b'{"app": "a", "needs": {"os": "linux"}}\n', b" \n", b'{"app": "b", "after": ["#0"]}'], "f")
    assert [(line, spec.app, spec.after, spec.needs.os) for line, spec in found] == [
        (1, "a", [], "linux"),
        (3, "b", ["#0"], ""),
    ]


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        (b"{", "line 1 of f is no job", "--help"),
        (b"[]", "line 1 of f is no job", "--help"),
        (b"\xff", "line 1 of f is no job", "--help"),
        (b'{"args": []}', "app", "--help"),
        (b'{"app": "a", "priority": "high"}', "$.priority", "--help"),
        (b'{"app": "a", "needs": "much"}', "$.needs", "--help"),
        (b'{"app": "a", "arg": ["x"]}', "no field 'arg'", "did you mean args"),
        (b'{"app": "a", "needs": {"cpus": 1}}', "no field 'cpus'", "did you mean"),
        (b'{"app": "a", "key": "k"}', "no field 'key'", "did you mean"),
    ],
)
def test_a_wrong_line_says_where(line, words, hint):
    with pytest.raises(UsageError) as refused:
        batch.parse([line], "f")
    assert words in str(refused.value)
    assert hint in refused.value.next_step


def test_a_file_without_jobs_is_refused():
    with pytest.raises(UsageError, match="no jobs"):
        batch.parse([b"\n"], "f")
