"""Lint: the suite's own lintian on what was built.

.changes (or the .debs of a tree that makes its own) ──> lintian in the chroot ──> lint.txt
"""

from __future__ import annotations

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import LintError
from xwhep_packaging.stages.debs.chroot import Chroot
from xwhep_packaging.store import Draft, Recipe

STAGE = "lint"
# About uploads to Debian, which these packages are not, and about entries that are as old as their commit.
UPLOAD_TAGS = ("bad-distribution-in-changes-file", "initial-upload-closes-no-bugs", "timewarp-standards-version")
FAIL_ON = "error,warning"


def recipe(name: str, upstream: dict[str, str], code: str) -> Recipe:
    """What decides lintian's answer."""
    return Recipe(stage=STAGE, name=name, inputs={**upstream, "code": code})


def lintian_command(files: list[str]) -> list[str]:
    """Errors and warnings fail; every tag is shown each time."""
    return [
        "lintian",
        "--tag-display-limit=0",
        f"--fail-on={FAIL_ON}",
        f"--suppress-tags={','.join(UPLOAD_TAGS)}",
        *files,
    ]


def make_lint(inputs: dict[str, Output], draft: Draft) -> None:
    """Run lintian on `inputs["debs"]` in `inputs["chroot"]`; keep its words in lint.txt.

    Raises:
        LintError: it names an error or a warning.
    """
    debs, root = inputs["debs"], inputs["chroot"]
    chroot = Chroot(
        tarball=root.path("root.tar"),
        mountpoint=draft.folder / "root",
        work=debs.folder,
        epoch=debs.manifest.facts["epoch"],
    )
    found = debs.matching(".changes") or debs.matching(".deb")
    result = chroot.run(lintian_command([path.name for path in found]), "/build", draft.log)
    if result.returncode != 0:
        raise LintError(
            f"lintian objects to {debs.manifest.name}",
            cause=command.last_lines(result.stdout),
            next_step="mend what it names; `lintian-explain-tags TAG` says why",
            log=draft.log,
        )
    (draft.folder / "lint.txt").write_text(result.stdout)
