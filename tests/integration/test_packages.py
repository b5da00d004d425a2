"""The packages on a bare trixie root: installed alone, working, removed, purged without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roots import bare_root, in_root

ROLES = ("server", "worker", "client")
COMMANDS = {"server": "xwhep-server", "worker": "xwhep-worker", "client": "xw"}


@pytest.fixture(params=ROLES)
def installed(request: pytest.FixtureRequest, built: Any, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """One role's package, alone on the base, which holds just the roles' dependencies."""
    report = built.latest()
    key = report["keys"]["base:rootfs"]
    deb = next(row["path"] for row in report["debs"] if row["package"] == f"xwhep-{request.param}")
    with bare_root(built.store / "base" / key / "root.tar", tmp_path / "root") as root:
        (root / "package.deb").write_bytes(Path(deb).read_bytes())
        in_root(root, "dpkg", "--install", "/package.deb")
        yield root, request.param


def files_naming(root: Path, word: str) -> set[str]:
    found = (path for path in root.rglob(f"*{word}*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(root)) for path in found}


def test_package_works_with_only_its_dependencies(installed: tuple[Path, str], built: Any) -> None:
    root, role = installed
    version = in_root(root, COMMANDS[role], "version").stdout
    assert built.latest()["version"] in version
    assert "usage" in in_root(root, COMMANDS[role], "--help").stdout.lower()


def test_package_holds_no_other_role(installed: tuple[Path, str]) -> None:
    root, role = installed
    tree = root / "usr" / "share" / f"xwhep-{role}" / "xwhep"
    assert {path.name for path in tree.iterdir() if path.is_dir() and path.name != "__pycache__"} == {"common", role}


def test_removed_keeps_settings_and_state_purged_keeps_nothing(installed: tuple[Path, str]) -> None:
    root, role = installed
    package = f"xwhep-{role}"
    state = root / "var" / "lib" / package
    if role != "client":
        assert f"{package}:" in (root / "etc" / "passwd").read_text()
        state.mkdir(exist_ok=True)
        (state / "kept").write_text("state")
    settings = root / "etc" / "xwhep" / f"{role}.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    in_root(root, "dpkg", "--remove", package)
    assert settings.read_text().endswith("# mine\n")
    assert role == "client" or (state / "kept").exists()
    in_root(root, "dpkg", "--purge", package)
    assert not settings.exists()
    assert files_naming(root, package) == set()


def test_image_labels_name_commit_version_and_time(built: Any) -> None:
    report = built.latest()
    for image in report["images"]:
        config = json.loads(
            (built.store / "images" / report["keys"][f"images:{image['name']}"] / "config.json").read_text()
        )
        labels = config["config"]["Labels"]
        assert labels["org.opencontainers.image.revision"] == report["shipped_commit"]
        assert labels["org.opencontainers.image.version"] == report["version"]
        assert labels["org.opencontainers.image.created"].endswith("Z")
        assert config["config"]["User"].split(":")[0].isdigit()
