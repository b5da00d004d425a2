"""A second pipeline file builds a product with nothing of the platform in it: two packages, two images, a test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from clones import REPOSITORY
from workshop import LOCK, PROJECTS, git

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds need root")
LIMIT_S = 420


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its repository, elsewhere on the machine; the chroot's packages are this checkout's, so that it is made once."""
    folder = tmp_path_factory.mktemp("second") / "notice"
    shutil.copytree(PROJECTS / "second-product", folder)
    chroot = tomllib.loads((REPOSITORY / "packaging" / "pipeline.toml").read_text(encoding="utf-8"))["chroot"]
    file = folder / "pipeline.toml"
    text = file.read_text().replace("@CHROOT@", json.dumps(chroot["packages"]))
    file.write_text(f'{text}\n[lock]\nfile = "{LOCK}"\n')
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=product")
    store = folder / "_build" / "products" / "notice"
    store.mkdir(parents=True)
    bases = REPOSITORY / "_build" / "base"
    bases.mkdir(parents=True, exist_ok=True)
    (store / "base").symlink_to(bases)
    yield folder
    made = [json.loads(path.read_text())["facts"]["digest"] for path in store.glob("*image*/*/manifest.json")]
    subprocess.run(["buildah", "rmi", "--force", *made], check=False, capture_output=True)


def doit(product: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "doit", *words, f"pipeline={product / 'pipeline.toml'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
    return subprocess.run(
        argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_second_product_is_built_and_passes_its_own_network_test(product: Path) -> None:
    done = doit(product, "build")
    assert done.returncode == 0, done.stdout + done.stderr
    latest = json.loads((product / "_build" / "products" / "notice" / "latest.json").read_text())
    assert latest["verdict"] == "passed"
    assert {row["package"] for row in latest["debs"]} == {"notice-board", "notice-ask"}
    assert {row["name"] for row in latest["images"]} == {"board", "ask"}
    assert latest["network_test"]["tests"] == 2
    assert "xwhep" not in json.dumps([latest["debs"], latest["images"]])


def test_second_build_of_it_runs_nothing(product: Path) -> None:
    done = doit(product, "build")
    assert done.returncode == 0
    assert "·" not in done.stdout


def test_key_of_another_builder_is_refused_by_name(product: Path) -> None:
    file = product / "pipeline.toml"
    text = file.read_text()
    file.write_text(text.replace('subfolder = "board"', 'subfolder = "board"\noverlay = "overlay"'))
    try:
        done = doit(product, "list")
    finally:
        file.write_text(text)
    assert done.returncode == 10
    assert "[sources.board] has no setting 'overlay'" in done.stderr
    assert "belongs to builder = 'stdeb'" in done.stderr
