"""Runs inside the chroot, by the suite's own Python: what is this project, and what does it need?

    python3 -I inspect_project.py TREE OUTPUT SHIM

Builds the project's wheel by its own backend (so that every backend is understood), and writes as JSON what the wheel
says, its requirements as Debian packages, and what its commands answer to --help. SHIM is the text of the setup.py that
a project with setup.cfg alone gets. Nothing in TREE is changed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

KNOWN_NAMES = Path("/usr/share/dh-python/dist/cpython3_fallback")
HELP_TIMEOUT_S = 20
# One fixed width and no colour, or a man page would depend on the terminal.
PLAIN_TERMINAL = {"COLUMNS": "79", "LINES": "24", "TERM": "dumb", "NO_COLOR": "1", "PYTHON_COLORS": "0"}


def main() -> int:
    tree, output, shim_text = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(tree, copy, symlinks=True)
        shim = not (copy / "setup.py").exists() and not (copy / "pyproject.toml").exists()
        if shim:
            (copy / "setup.py").write_text(shim_text)
        unpacked = build_wheel(copy, Path(folder))
        told = describe(unpacked)
        told["licence"] = told["licence"] or stated_licence(copy)  # flit leaves it out of a wheel
        found = {**told, "shim": shim, "build_requires": mapped(build_requires(copy))}
    output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return 0


def build_wheel(tree: Path, folder: Path) -> Path:
    """The project's wheel, unpacked."""
    wheels = folder / "wheels"
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    subprocess.run([*argv, "--outdir", str(wheels), str(tree)], check=True)
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
        archive.extractall(unpacked)
    return unpacked


def pyproject(tree: Path, section: str) -> dict[str, Any]:
    file = tree / "pyproject.toml"
    found = tomllib.loads(file.read_text(encoding="utf-8")).get(section, {}) if file.exists() else {}
    return dict(found)


def stated_licence(tree: Path) -> str:
    """The licence in pyproject.toml: an expression, or the table of earlier days with its text."""
    licence = pyproject(tree, "project").get("license", "")
    return str(licence.get("text", "") if isinstance(licence, dict) else licence)


def build_requires(tree: Path) -> list[str]:
    requires = pyproject(tree, "build-system").get("requires", [])
    return [str(entry) for entry in requires] or ["setuptools"]


def describe(unpacked: Path) -> dict[str, Any]:
    """What the wheel's metadata say, in plain types."""
    (info,) = unpacked.glob("*.dist-info")
    distribution = importlib.metadata.PathDistribution(info)
    fields = distribution.metadata
    scripts = [entry for entry in distribution.entry_points if entry.group in ("console_scripts", "gui_scripts")]
    data_scripts = [path.name for path in unpacked.glob("*.data/scripts/*")]
    return {
        "name": fields["Name"],
        "version": fields["Version"],
        "summary": fields["Summary"] or "",
        "description": str(getattr(fields, "get_payload", str)() or fields["Description"] or ""),
        "authors": [
            value for key in ("Author", "Author-email", "Maintainer-email") for value in fields.get_all(key, [])
        ],
        "licence": fields["License-Expression"] or fields["License"] or "",
        "classifiers": fields.get_all("Classifier", []),
        "urls": [value for key in ("Home-page", "Project-URL") for value in fields.get_all(key, [])],
        "pure": "Root-Is-Purelib: true" in (info / "WHEEL").read_text(),
        "requires": mapped(distribution.requires or []),
        "commands": {
            **dict.fromkeys(data_scripts, ""),
            **{entry.name: help_of(unpacked, entry) for entry in scripts},
        },
    }


def mapped(requirements: list[str]) -> dict[str, str]:
    """PyPI name -> Debian package, for the requirements that hold here; an empty package when none is known."""
    known = known_names()
    result = {}
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise SystemExit(f"ERROR requirement {text!r} cannot be read: {error}") from error
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            result[requirement.name] = known.get(canonicalize_name(requirement.name)) or installed(requirement.name)
    return result


def known_names() -> dict[str, str]:
    """dh-python's table of the whole suite."""
    rows = (line.split(None, 1) for line in KNOWN_NAMES.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(row[0]): row[1].strip() for row in rows if len(row) > 1}


def installed(name: str) -> str:
    """The Debian package that holds this distribution in the chroot."""
    try:
        path = importlib.metadata.distribution(name)._path  # type: ignore[attr-defined]
    except importlib.metadata.PackageNotFoundError:
        return ""
    answer = subprocess.run(["dpkg", "-S", str(path)], capture_output=True, text=True, check=False).stdout
    return answer.partition(":")[0]


def help_of(unpacked: Path, entry: importlib.metadata.EntryPoint) -> str:
    """What the command prints for --help; empty when it does not run here, say for a library that the chroot lacks."""
    program = (
        f"import sys; sys.argv[0] = {entry.name!r}; from {entry.module} import {entry.attr.split('.')[0]}; "
        f"sys.exit({entry.attr}())"
    )
    environment = {**os.environ, **PLAIN_TERMINAL, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        answer = subprocess.run(
            [sys.executable, "-c", program, "--help"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=HELP_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except (subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
