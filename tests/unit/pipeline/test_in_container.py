"""Builds in a container's own root file system, without what only the pipeline's machine has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xwhep_packaging import in_container, settings
from xwhep_packaging.in_container import Here

REPOSITORY = Path(__file__).resolve().parents[3]
CONTAINERFILE = REPOSITORY / "images" / "server-master" / "Containerfile"


def here(work: Path) -> Here:
    return Here(tarball=Path(os.devnull), mountpoint=work / "none", work=work, epoch=1795487647)


def test_a_build_is_an_ordinary_user_with_a_clean_environment(tmp_path: Path) -> None:
    argv = here(tmp_path).command(["true"], "/build")
    assert argv[0] == "setpriv"
    assert {"--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs"} <= set(argv)
    assert "--ignore-environment" in argv
    assert "SOURCE_DATE_EPOCH=1795487647" in argv
    assert not {"bwrap", "unshare", "mount"} & set(argv), "a build inside a container is not given these"


def test_what_it_runs_owns_the_work_folder_and_nothing_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    work = tmp_path / "work"
    work.mkdir()
    script = (
        "id -u; umask; pwd; touch made; env | cut -d= -f1 | sort | tr '\\n' ' '; touch /etc/x 2>/dev/null || echo no"
    )
    result = here(work).run(["sh", "-c", script], str(work), tmp_path / "log")
    lines = result.stdout.splitlines()
    assert lines[:3] == ["1000", "0022", str(work)]
    assert "SOURCE_DATE_EPOCH" in lines[3]
    assert "HOSTNAME" not in lines[3]
    assert lines[3].endswith("no")
    assert (work / "made").stat().st_uid == 1000


def test_it_needs_what_the_pipeline_file_names_but_lintian() -> None:
    loaded = settings.load(REPOSITORY / "packaging" / "pipeline.toml", {})
    needs = in_container.needs(loaded)
    assert {"debhelper", "python3-stdeb", "dpkg-dev"} <= set(needs)
    assert "lintian" not in needs
    assert set(loaded.chroot.packages) - set(needs) == {"lintian"}


def test_wrong_words_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_container.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_it_imports_no_library_but_msgspec() -> None:
    """The build has Debian's Python and no .venv."""
    code = "import sys, xwhep_packaging.in_container; print(*{name.split('.')[0] for name in sys.modules})"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "packaging")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not {"doit", "docker", "pytest"} & set(done.stdout.split())


def test_the_server_image_is_what_its_own_containerfile_says() -> None:
    official = (REPOSITORY / "images" / "server" / "Containerfile").read_text()
    text = CONTAINERFILE.read_text().partition(" AS server\n")[2]
    for word in ("USER", "VOLUME", "WORKDIR", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
        pattern = re.compile(rf"^{word} (?:.*\\\n)*.*$", re.M)
        assert pattern.findall(text) == pattern.findall(official), word
