"""What a release derives from a build, as an output of its own: `doit verify` compares rebuilds by it, too.

.debs, .dsc ───> apt's indexes, signed at the source's time by a key that nobody trusts ─┐
.debs, images ─> bills of materials, sizes ──────────────────────────────────────────────┴──> papers:release

A rebuild makes it in its own clone, under its variations, and gets a copy of the key.
"""

from __future__ import annotations

from pathlib import Path

from xwhep_packaging import report
from xwhep_packaging.artefacts import Output, digests_below
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release import suites
from xwhep_packaging.release.channels import CHANNELS
from xwhep_packaging.release.papers import Papers, subjects_of
from xwhep_packaging.release.signing import Key, key_of
from xwhep_packaging.store import Draft, Recipe, remove_tree
from xwhep_packaging.verify.rebuild import Beside

STAGE, NAME = "papers", "release"
KEY = "verify/key/secret.asc"  # below a store; never the one that signs releases


def make(pipeline: Pipeline) -> Output:
    """It, made now unless it is there.

    Raises:
        ReleaseError: an image holds a file that no package owns, for no reason that is known; or gpg refuses.
    """
    with key_of("", pipeline.store.root / KEY, lambda line: None) as key:
        return pipeline.store.make(_recipe(pipeline, key), lambda draft: _write(pipeline, key, draft))


BESIDE = Beside(task=f"release:{STAGE}", step=f"{STAGE}:{NAME}", make=make, shared=KEY)


def _recipe(pipeline: Pipeline, key: Key) -> Recipe:
    upstream = [name for name in pipeline.steps if name.startswith(("debs:", "images:"))]
    inputs = {**pipeline.keys(*upstream), "key": key.fingerprint}
    return Recipe(stage=STAGE, name=NAME, inputs=inputs, files={"code": digests_below(Path(__file__).parent)})


def _write(pipeline: Pipeline, key: Key, draft: Draft) -> None:
    suites.write(pipeline, draft.folder, CHANNELS[:1], key)
    for copies in [*draft.folder.rglob("by-hash")]:  # of files that are there, under names that are their sums
        remove_tree(copies)
    build = report.contents(pipeline)
    Papers(pipeline=pipeline, report=build, subjects=subjects_of(pipeline, build)).write(draft.folder)
