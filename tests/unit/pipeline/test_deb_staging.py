"""debian/stage.py on a small tree: what it puts where, and what it refuses."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

STAGE = Path(__file__).parents[3] / "debian/stage.py"
SCRIPTS = '[project.scripts]\nxwhep-server = "xwhep.server.main:main"\nxw = "xwhep.client.main:main"\n'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree of one file per part; the current folder, as in a package build."""
    for part in ("common", "server", "worker", "client"):
        (tmp_path / "src/xwhep" / part).mkdir(parents=True)
        (tmp_path / "src/xwhep" / part / "__init__.py").write_text(f'"""{part}"""\n')
    (tmp_path / "src/xwhep/__init__.py").touch()
    (tmp_path / "src/xwhep/common/version.py").write_text('"""Doc."""\n\nVERSION = "0"\n')
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian/changelog").write_text("xwhep (11.0.0~git20261123.2246+abcdef0) unstable; urgency=low\n")
    (tmp_path / "pyproject.toml").write_text(SCRIPTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage() -> None:
    runpy.run_path(str(STAGE), run_name="__main__")


def test_each_role_gets_common_and_itself_only(tree: Path) -> None:
    stage()
    for role in ("server", "worker", "client"):
        staged = tree / f"debian/xwhep-{role}/usr/share/xwhep-{role}/xwhep"
        assert sorted(path.name for path in staged.iterdir()) == sorted(["__init__.py", "common", role])


def test_the_version_is_stamped_in_the_copy_only(tree: Path) -> None:
    stage()
    copy = tree / "debian/xwhep-worker/usr/share/xwhep-worker/xwhep/common/version.py"
    assert copy.read_text() == '"""Doc."""\n\nVERSION = "11.0.0~git20261123.2246+abcdef0"\n'
    assert '"0"' in (tree / "src/xwhep/common/version.py").read_text()


def test_launchers_are_executable_and_in_their_role(tree: Path) -> None:
    stage()
    launchers = {path.name: path for path in tree.glob("debian/*/usr/bin/*")}
    assert {name: path.parts[-4] for name, path in launchers.items()} == {
        "xwhep-server": "xwhep-server",
        "xw": "xwhep-client",
    }
    assert all(path.stat().st_mode & 0o111 == 0o111 for path in launchers.values())


def test_bytecode_of_the_developer_stays_behind_and_data_files_come_along(tree: Path) -> None:
    (tree / "src/xwhep/server/__pycache__").mkdir()
    (tree / "src/xwhep/server/__pycache__/main.cpython-313.pyc").touch()
    (tree / "src/xwhep/server/sql").mkdir()
    (tree / "src/xwhep/server/sql/0001.sql").write_text("select 1;")
    stage()
    staged = tree / "debian/xwhep-server/usr/share/xwhep-server/xwhep/server"
    assert sorted(str(path.relative_to(staged)) for path in staged.rglob("*")) == ["__init__.py", "sql", "sql/0001.sql"]


@pytest.mark.parametrize(
    "text", ["", 'VERSION: Final = "0"\n', 'VERSION = "0"\nVERSION = "1"\n'], ids=["none", "other", "two"]
)
def test_a_version_file_it_cannot_stamp_stops_the_build(tree: Path, text: str) -> None:
    (tree / "src/xwhep/common/version.py").write_text(text)
    with pytest.raises(SystemExit, match="VERSION"):
        stage()


def test_a_changelog_without_a_version_stops_the_build(tree: Path) -> None:
    (tree / "debian/changelog").write_text("nothing yet\n")
    with pytest.raises(SystemExit, match="changelog"):
        stage()
