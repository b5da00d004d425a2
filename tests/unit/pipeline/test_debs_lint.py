"""What lintian's words mean for a build and for a release."""

from __future__ import annotations

from pathlib import Path

import pytest

from xwhep_packaging.artefacts import FileRecord, Manifest, Output
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import LintError
from xwhep_packaging.stages.debs import chroot, lint
from xwhep_packaging.stages.debs.lint import QUICK, STRICT, Strictness
from xwhep_packaging.store import Draft

SAID = """\
N: some note
E: tool: an-error [usr/bin/tool]
W: tool: a-warning
I: tool source: an-info
P: tool source: a-pedantic [debian/changelog:6]
O: tool: an-override
M: tool: masked by lintian itself
"""


@pytest.mark.parametrize(("strictness", "count"), [(QUICK, 2), (STRICT, 4)], ids=["quick", "strict"])
def test_objections(strictness: Strictness, count: int) -> None:
    lines = [line for line in SAID.splitlines() if line[0] in "EWIP"]
    assert lint.objections(strictness, SAID) == lines[:count]


def test_only_a_release_has_every_check_done() -> None:
    left_out = [word for word in lint.lintian_command(QUICK, ["a.changes"]) if word.startswith("--dont-check-part")]
    assert left_out == ["--dont-check-part=languages/python/stdlib-deprecation"]
    assert not any(word.startswith("--dont-check") for word in lint.lintian_command(STRICT, ["a.changes"]))


@pytest.fixture
def inputs(draft: Draft) -> dict[str, Output]:
    folder = draft.folder / "made"
    folder.mkdir()
    files = {"tool_1_amd64.changes": FileRecord(0, ""), "root.tar": FileRecord(0, "")}
    manifest = Manifest(stage="debs", name="tool", key="k", inputs={}, files=files, facts={"epoch": 1})
    output = Output(folder=folder, manifest=manifest)
    return {"debs": output, "chroot": output}


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    folder = tmp_path / "draft"
    folder.mkdir()
    return Draft(folder=folder, log=folder / "log")


@pytest.mark.parametrize(
    ("strictness", "said", "code", "cause"),
    [
        pytest.param(QUICK, "I: tool: only-a-hint\n", 0, "", id="a hint does not fail a build"),
        pytest.param(STRICT, "I: tool: only-a-hint\n", 0, "I: tool: only-a-hint", id="it fails a release"),
        pytest.param(QUICK, "W: tool: a-warning\n", 0, "W: tool: a-warning", id="a warning fails both"),
        pytest.param(STRICT, "M: tool: masked\n", 2, "", id="masked tags fail neither"),
        pytest.param(QUICK, "cannot open the file\n", 1, "cannot open the file", id="lintian itself fails"),
    ],
)
def test_verdict(
    monkeypatch: pytest.MonkeyPatch,
    draft: Draft,
    inputs: dict[str, Output],
    strictness: Strictness,
    said: str,
    code: int,
    cause: str,
) -> None:
    def run(command: Command, *, check: bool) -> Result:
        return Result(returncode=code, stdout=said)

    monkeypatch.setattr(chroot.command, "run", run)
    if cause:
        with pytest.raises(LintError, match="lintian objects to tool") as caught:
            lint.make_lint(strictness, inputs, draft)
        assert caught.value.cause == cause
    else:
        lint.make_lint(strictness, inputs, draft)
        assert (draft.folder / "lint.txt").read_text() == said
