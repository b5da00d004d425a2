"""Fill the three package folders: each role's private tree, and its commands in /usr/bin.

    debian/xwhep-ROLE/usr/share/xwhep-ROLE/xwhep/{common,ROLE}    the source, with the package's version in it
    debian/xwhep-ROLE/usr/bin/COMMAND                             one launcher per [project.scripts] of pyproject.toml

Runs in the top folder of the source during the package build, and changes nothing outside debian/xwhep-ROLE.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

ROLES = ("server", "worker", "client")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")
LAUNCHER = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/share/xwhep-{role}")
from {module} import {function}

sys.exit({function}())
"""


def package_version(changelog: str) -> str:
    """The version in the first line of a debian/changelog.

    Raises:
        SystemExit: there is none.
    """
    found = re.match(r"\S+ \((\S+)\)", changelog)
    if not found:
        raise SystemExit("debian/changelog does not start with NAME (VERSION)")
    return found[1]


def stamped(source: str, version: str) -> str:
    """`source` (common/version.py) with its constant replaced.

    Raises:
        SystemExit: there is not exactly one constant; a package with a wrong version must not be built.
    """
    text, count = re.subn(r'^VERSION = ".*"$', f'VERSION = "{version}"', source, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit("src/xwhep/common/version.py has no single line VERSION = ...")
    return text


def stage_tree(role: str, version: str) -> None:
    tree = Path("debian", f"xwhep-{role}", "usr/share", f"xwhep-{role}", "xwhep")
    for part in ("common", role):
        shutil.copytree(Path("src/xwhep", part), tree / part, ignore=NOT_SHIPPED)
    shutil.copy("src/xwhep/__init__.py", tree)
    constant = tree / "common/version.py"
    constant.write_text(stamped(constant.read_text("utf-8"), version), "utf-8")


def stage_command(name: str, entry_point: str) -> None:
    """Write the launcher of one `module:function`; the role is the module's second part."""
    module, _, function = entry_point.partition(":")
    role = module.split(".")[1]
    launcher = Path("debian", f"xwhep-{role}", "usr/bin", name)
    launcher.parent.mkdir(parents=True, exist_ok=True)
    launcher.write_text(LAUNCHER.format(role=role, module=module, function=function), "utf-8")
    launcher.chmod(0o755)


def main() -> None:
    version = package_version(Path("debian/changelog").read_text("utf-8"))
    for role in ROLES:
        stage_tree(role, version)
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    for name, entry_point in project["scripts"].items():
        stage_command(name, entry_point)


if __name__ == "__main__":
    main()
