"""The same package with something wrong in it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path


def spoiled(deb: Path, spoil: Callable[[Path], None]) -> None:
    """In place: `spoil` is given its unpacked tree, DEBIAN in it."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
        spoil(tree)
        argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(deb)]
        subprocess.run(argv, check=True, capture_output=True)


def does_more_at_install(line: str) -> Callable[[Path], None]:
    """A line of shell at the start of postinst, whose first words are the action and the version before."""

    def spoil(tree: Path) -> None:
        script = tree / "DEBIAN" / "postinst"
        shebang, rest = script.read_text().split("\n", 1)
        script.write_text(f"{shebang}\n{line}\n{rest}")

    return spoil


def says_too_little(tree: Path) -> None:
    """A description of one short line: lintian calls it an information, which stops a release and no build."""
    control = tree / "DEBIAN" / "control"
    before = control.read_text().partition("\nDescription:")[0]
    control.write_text(f"{before}\nDescription: estimate of pi\n It is short.\n")
