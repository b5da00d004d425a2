"""Lint: the suite's own lintian on what was built.

.changes (or the .debs of a tree that makes its own) ──> lintian in the chroot ──> lint.txt

Every build has it done quickly. A release has it done strictly: all checks, and whatever is said fails.
"""

from __future__ import annotations

import re

import msgspec

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import LintError
from xwhep_packaging.store import Draft, Recipe

# About uploads to Debian, which these packages are not, and about entries dated by commits that may be years old.
UPLOAD_TAGS = ("bad-distribution-in-changes-file", "initial-upload-closes-no-bugs", "timewarp-standards-version")
FOUND = 2  # lintian's exit code when it found errors


class Strictness(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, and what fails: `severities` are the letters before the tags.

    lintian's own --fail-on also counts tags that it masks itself and does not show.
    """

    stage: str
    options: tuple[str, ...]
    severities: str


QUICK = Strictness(
    stage="lint",
    # It compiles 23 expressions for every line of Python: 10 of the 27 s that the platform's packages take.
    options=("--dont-check-part=languages/python/stdlib-deprecation",),
    severities="EW",
)
STRICT = Strictness(
    stage="pedantic",
    options=("--pedantic", "--display-info"),
    severities="EWIP",
)


def recipe(strictness: Strictness, name: str, upstream: dict[str, str], code: dict[str, str]) -> Recipe:
    """What decides lintian's answer."""
    return Recipe(stage=strictness.stage, name=name, inputs=upstream, files={"code": code})


def lintian_command(strictness: Strictness, files: list[str]) -> list[str]:
    """Every tag is shown each time."""
    return [
        "lintian",
        "--tag-display-limit=0",
        *strictness.options,
        f"--suppress-tags={','.join(UPLOAD_TAGS)}",
        *files,
    ]


def objections(strictness: Strictness, output: str) -> list[str]:
    """The lines of lintian that fail, such as `W: nbody: no-manual-page [usr/bin/nbody]`."""
    return re.findall(rf"^[{strictness.severities}]: .+", output, re.M)


def make_lint(strictness: Strictness, inputs: dict[str, Output], draft: Draft) -> None:
    """Run lintian on `inputs["debs"]` in `inputs["chroot"]`; keep its words in lint.txt.

    Raises:
        LintError: it names what fails at this strictness.
    """
    from xwhep_packaging.stages.debs import plain

    debs, root = inputs["debs"], inputs["chroot"]
    chroot = plain.kind()(
        tarball=root.path("root.tar"),
        mountpoint=draft.folder / "root",
        work=debs.folder,
        epoch=debs.manifest.facts["epoch"],
    )
    found = debs.matching(".changes") or debs.matching(".deb")
    result = chroot.run(lintian_command(strictness, [path.name for path in found]), "/build", draft.log)
    chroot.close()
    tags = objections(strictness, result.stdout)
    if tags or result.returncode not in (0, FOUND):
        raise LintError(
            f"lintian objects to {debs.manifest.name}",
            cause=command.last_lines("\n".join(tags) or result.stdout),
            next_step="mend what it names; `lintian-explain-tags TAG` says why",
            log=draft.log,
        )
    (draft.folder / "lint.txt").write_text(result.stdout)
