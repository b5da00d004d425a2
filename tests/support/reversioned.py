"""The same package under another version."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path


def reversioned(deb: Path, version: str, folder: Path) -> None:
    """Write it into `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
        control = tree / "DEBIAN" / "control"
        lines = control.read_text().splitlines()
        control.write_text("".join(f"Version: {version}\n" if x.startswith("Version:") else f"{x}\n" for x in lines))
        constant = next(tree.glob("usr/share/*/xwhep/common/version.py"), None)
        if constant:  # what the program says
            constant.write_text(f'VERSION = "{version}"\n')
        argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(folder)]
        subprocess.run(argv, check=True, capture_output=True)
