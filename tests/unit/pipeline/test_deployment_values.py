"""xwconfigure.values: read as a shell would read it, and never run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from random import Random

import pytest

from xwhep_packaging import errors
from xwhep_packaging.deployment import answers
from xwhep_packaging.deployment.meanings import ANSWERS, MEANINGS, UNUSED, without_meaning
from xwhep_packaging.deployment.values import parse, read_values
from xwhep_packaging.errors import SecretsExposed, UnknownKey, ValuesError

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLE = REPOSITORY / "packaging" / "xwconfigure.values.example"
SECRET = "s3cr3t-never-shown"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "xwconfigure.values"
    path.write_text("XWSERVER=grid.example.org\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        pytest.param("K=plain", "plain", id="plain"),
        pytest.param("  export K=plain  ", "plain", id="export"),
        pytest.param("K=", "", id="empty"),
        pytest.param("K=''", "", id="empty quotes"),
        pytest.param("K='two words'", "two words", id="single quotes"),
        pytest.param('K="two words"', "two words", id="double quotes"),
        pytest.param(r'K="a \"quote\" \\ \$HOME \`x\` \n"', 'a "quote" \\ $HOME `x` \\n', id="escapes"),
        pytest.param("K='$(id) `id` $HOME \\'", "$(id) `id` $HOME \\", id="nothing is special in single quotes"),
        pytest.param("K=a'b c'\"d\"e", "ab cde", id="pieces"),
        pytest.param(r"K=a\ b\$c", "a b$c", id="backslashes"),
        pytest.param("K=value # a comment", "value", id="comment"),
        pytest.param("K=value#no", "value#no", id="a hash in a word"),
        pytest.param("K='value' # 'a' comment", "value", id="comment after quotes"),
        pytest.param("K=a=b", "a=b", id="equals sign"),
        pytest.param("K=Zoë", "Zoë", id="letters of all kinds"),
    ],
)
def test_value_is_what_a_shell_reads(line: str, value: str) -> None:
    assert parse(line, Path("f")) == {"K": value}
    script = f'{line}\nprintf %s "$K"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, encoding="utf-8")
    assert shell.stdout == value


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"K={SECRET}$(touch ran)", id="command"),
        pytest.param(f"K={SECRET}`touch ran`", id="backquotes"),
        pytest.param(f'K="{SECRET}$(touch ran)"', id="command in double quotes"),
        pytest.param(f'K="{SECRET}`touch ran`"', id="backquotes in double quotes"),
        pytest.param(f"K={SECRET}$HOME", id="variable"),
        pytest.param(f'K="{SECRET}${{HOME}}"', id="variable in double quotes"),
        pytest.param(f"K={SECRET};touch ran", id="second command"),
        pytest.param(f"K={SECRET} touch ran", id="command with a variable"),
        pytest.param(f"K={SECRET}>ran", id="redirection"),
        pytest.param(f"K={SECRET}&", id="background"),
        pytest.param(f"K='{SECRET}", id="open quote"),
        pytest.param(f'K="{SECRET}', id="open double quote"),
        pytest.param(f"K={SECRET}\\", id="continued line"),
        pytest.param(f"K={SECRET}\x07", id="control character"),
        pytest.param(f"K = {SECRET}", id="spaces around the sign"),
        pytest.param(f"touch ran {SECRET}", id="command alone"),
        pytest.param(f"K=a\nK={SECRET}", id="twice"),
        pytest.param(f"K-K={SECRET}", id="no name"),
    ],
)
def test_what_is_no_plain_value_is_refused_and_never_shown(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValuesError, match=r"^f:[12]") as caught:
        parse(line, Path("f"))
    assert SECRET not in caught.value.report()
    assert not (tmp_path / "ran").exists()


def test_lines_of_windows_and_a_mark_at_the_start(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfXWSERVER=grid\r\n\r\n# note\r\nCERTO='A B'\r\n")
    assert read_values(file) == {"XWSERVER": "grid", "CERTO": "A B"}


# Keys


def test_all_keys_of_the_old_file_are_known() -> None:
    assert len(MEANINGS) == len(set(MEANINGS)) == 26
    assert set(ANSWERS) | set(UNUSED) == set(MEANINGS)
    assert not set(ANSWERS) & set(UNUSED)


def test_every_key_is_read(file: Path) -> None:
    file.write_text("".join(f"{key}=x\n" for key in MEANINGS))
    assert list(read_values(file)) == list(MEANINGS)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        pytest.param("XWADMINPASWORD", "did you mean XWADMINPASSWORD?", id="misspelt"),
        pytest.param("xwserver", "did you mean XWSERVER?", id="lower case"),
        pytest.param("COMPLETELY_DIFFERENT", "docs/howto/configure.md lists every key", id="unlike any"),
    ],
)
def test_unknown_key_has_a_suggestion(file: Path, key: str, suggestion: str) -> None:
    file.write_text(f"{key}={SECRET}\n")
    with pytest.raises(UnknownKey, match=f"there is no key '{key}'") as caught:
        read_values(file)
    assert caught.value.next_step == suggestion
    assert SECRET not in caught.value.report()


def test_keys_without_meaning_are_named_with_a_reason() -> None:
    lines = without_meaning({"XWSERVER": "a", "DBHOST": "localhost", "SSLKEYPASSPHRASE": SECRET, "CERTCN": "b"})
    assert len(lines) == 3
    assert lines[0].startswith("DBHOST is not used: the server keeps its state in SQLite")
    assert not any(SECRET in line for line in lines)


def test_name_of_the_certificate_that_agrees_needs_no_word() -> None:
    assert without_meaning({"XWSERVER": "a", "CERTCN": "a"}) == []


# The file


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o620])
def test_file_that_others_can_reach_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SecretsExposed, match=str(file)) as caught:
        read_values(file)
    assert caught.value.next_step == f"chmod 600 {file}"


def test_file_of_somebody_else_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1000)
    theirs = _of_user(file.stat(), file.stat().st_uid + 1)
    monkeypatch.setattr(os, "fstat", lambda descriptor: theirs)
    with pytest.raises(SecretsExposed, match="belongs to another user"):
        read_values(file)


def _of_user(status: os.stat_result, number: int) -> os.stat_result:
    return os.stat_result((*status[:4], number, *status[5:]))


@pytest.mark.parametrize("content", [b"XWSERVER=\xff\n", b"#" * 70_000], ids=["no UTF-8", "far too large"])
def test_file_that_is_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ValuesError, match=str(file)):
        read_values(file)


def test_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValuesError, match="cannot read"):
        read_values(tmp_path / "none")
    with pytest.raises(ValuesError):
        read_values(tmp_path)


# The example and the page


def test_example_names_every_key_and_is_read(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert set(re.findall(r"\b[A-Z][A-Z0-9]{3,}\b", text)) - {"NAME", "KEY", "VALUE"} >= set(MEANINGS)
    values = parse(text, EXAMPLE)
    assert set(values) == set(ANSWERS)
    assert values["XWADMINPASSWORD"] == ""


def test_page_says_what_each_key_means() -> None:
    page = (REPOSITORY / "docs" / "howto" / "configure.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z0-9]+)` \| (.+) \|$", page, re.M))
    assert list(rows) == list(MEANINGS)
    assert {key: reason for key, reason in rows.items() if reason.startswith("not used")} == {
        key: f"not used: {reason}" for key, reason in UNUSED.items()
    }


def test_page_lists_the_ways_to_fail() -> None:
    page = (REPOSITORY / "docs" / "howto" / "configure.md").read_text(encoding="utf-8")
    listed = {(int(code), word) for code, word in re.findall(r"^\| (\d+) \| ([a-z-]+) \|", page, re.M)}
    kinds = errors.PipelineError.__subclasses__()
    assert listed == {(kind.exit_code, kind.code) for kind in kinds if 30 <= kind.exit_code <= 37}


# Whatever the file holds


def damaged(text: bytes, random: Random) -> bytes:
    """With one to six places cut out, doubled, or replaced by letters that mean something."""
    for _ in range(random.randint(1, 6)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.randint(0, 12))
        piece = bytes(random.choices(b"=\"'\\$`# \n\t\0\r\xff\xc3\xb6aZ09._-", k=random.randint(0, 9)))
        text = text[:start] + random.choice([b"", piece, text[start:end] * 2, piece * 200]) + text[end:]
    return text


def test_five_hundred_damaged_files(file: Path) -> None:
    """Each gives answers or an error that a person can mend, and never another exception."""
    good = EXAMPLE.read_bytes().replace(b"XWADMINPASSWORD=", b"XWADMINPASSWORD=a-long-password-2026")
    random, read, reports = Random(8), 0, []
    for _ in range(500):
        file.write_bytes(damaged(good, random))
        try:
            answers.from_values(read_values(file))
            read += 1
        except errors.PipelineError as error:
            reports.append(error.report())
    assert min(read, len(reports)) > 20
    assert [report for report in reports if "next:" not in report] == []
