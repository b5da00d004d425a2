"""The completion that comes with the client's package, in real shells, of the real `xw`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shells import INSTALLED, completed

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = REPOSITORY / "debian" / "completion"
SETUP = {
    "bash": f"complete -D; source {FILES}/bash/xw",
    "zsh": f"fpath=({FILES}/zsh $fpath); autoload -U compinit && compinit -D -u",
    "fish": f"source {FILES}/fish/xw.fish",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    xw = tmp_path / "xw"
    source = REPOSITORY / "src"
    code = f"import sys; sys.path.insert(0, '{source}'); from xwhep.client.main import main; sys.exit(main())"
    xw.write_text(f"#!{sys.executable}\n{code}\n")
    xw.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("shell", INSTALLED)
@pytest.mark.parametrize(
    ("typed", "expected"), [("chm", "chmod"), ("job swe", "job sweep"), ("admin gro", "admin group")]
)
def test_a_command_is_completed(folder: Path, shell: str, typed: str, expected: str) -> None:
    found = completed(shell, SETUP[shell], f"xw {typed}", folder)
    assert found == [expected.rsplit(maxsplit=1)[-1] if shell == "fish" else f"xw {expected}"]


def test_the_package_takes_each_to_where_its_shell_looks() -> None:
    rows = (REPOSITORY / "debian" / "xwhep-client.install").read_text().splitlines()
    places = dict(row.split() for row in rows if "completion/" in row)
    assert places == {
        "debian/completion/bash/xw": "usr/share/bash-completion/completions",
        "debian/completion/zsh/_xw": "usr/share/zsh/vendor-completions",
        "debian/completion/fish/xw.fish": "usr/share/fish/vendor_completions.d",
    }
    assert all((REPOSITORY / file).is_file() for file in places)
