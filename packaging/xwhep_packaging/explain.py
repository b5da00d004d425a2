"""`doit explain`: which input is no longer what it was when a step was made last, and by which chain it gets there.

inputs of the key now ──┐
inputs in the manifest ─┴──> what differs ──a step's key?──> the same question of that step ──> file, setting, tool ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xwhep_packaging import lockfile
from xwhep_packaging.errors import SettingsError, SourceError
from xwhep_packaging.lockfile import Deb, DebSet
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.store import Recipe

FILE, SETTING, TOOL, PACKAGE, CODE, OTHER = "file", "setting", "tool", "locked package", "code", "input"
ABSENT = "absent"
SHOWN_DIGITS = 12
SHOWN_CHANGES = 20  # of one kind in one step; the rest is counted
FOLLOWS = {"epoch": "shipped commit"}  # an input that changes whenever the other does
TABLES = {"chroot": "chroot", "rootfs": "base"}  # a root file system -> its table in the pipeline file


@dataclass(frozen=True, kw_only=True)
class Change:
    """One input that differs. `chain`: the steps from the one that was asked for to the one that has this input."""

    kind: str
    what: str
    old: str
    new: str
    chain: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """`state` in words; `old` is the key that was made last, empty where there is none; both equal: nothing changed."""

    step: str
    state: str
    old: str
    new: str
    changes: tuple[Change, ...] = ()


def explain(pipeline: Pipeline, name: str) -> Explanation:
    """Why a step would be made now, or that it would not.

    Raises:
        SettingsError: there is no such step.
    """
    if name not in pipeline.steps:
        raise SettingsError(f"there is no step {name!r}", next_step="scripts/doit plan names them all")
    recipe = pipeline.recipe(name)
    if pipeline.find(name) is not None:
        return Explanation(step=name, state="up to date", old=recipe.key, new=recipe.key)
    if pipeline.store.recorded(recipe.stage, recipe.key) is not None:
        return Explanation(step=name, state=_lost(pipeline, recipe), old=recipe.key, new=recipe.key)
    before = _made_last(pipeline, name, recipe)
    if before is None:
        return Explanation(step=name, state="was never made here", old="", new=recipe.key)
    found = tuple(_Comparison(pipeline).changes((name,), before, recipe))
    return Explanation(step=name, state="its inputs changed", old=before.key, new=recipe.key, changes=found)


def first_to_make(pipeline: Pipeline) -> list[str]:
    """The steps that are to be made and need nothing that is."""
    missing = {name for name in pipeline.steps if pipeline.find(name) is None}
    return [name for name in pipeline.steps if name in missing and not missing & {*pipeline.steps[name].needs}]


def _lost(pipeline: Pipeline, recipe: Recipe) -> str:
    output = pipeline.store.find(recipe)
    return "is made, and its image is no longer in the storage" if output else "was made, and a file of it was changed"


def _made_last(pipeline: Pipeline, name: str, recipe: Recipe) -> Recipe | None:
    """What decided the step when it was made last; where the history is gone, the newest output of its name."""
    known = [entry.key for entry in reversed(pipeline.store.history()) if entry.step == name]
    recorded = (pipeline.store.recorded(recipe.stage, key) for key in known)
    others = (pipeline.store.recorded(recipe.stage, key) for key in pipeline.store.keys(recipe.stage))
    named = (one for one in others if one is not None and one.name == recipe.name)
    return next((one for one in (*recorded, *named) if one is not None and one.key != recipe.key), None)


@dataclass(frozen=True)
class _Comparison:
    """Of what decided a step then and now."""

    pipeline: Pipeline

    def changes(self, chain: tuple[str, ...], old: Recipe, new: Recipe) -> Iterator[Change]:
        """Each input that differs, those of the steps that it needs in their place."""
        before, after = old.decided, new.decided
        differ = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        for name in differ:
            if FOLLOWS.get(name) in differ:
                continue
            upstream = self._upstream(chain[-1], name, after.get(name, ""))
            earlier = self._recorded(upstream, before.get(name, "")) if upstream else None
            if upstream and earlier:
                yield from self.changes((*chain, upstream), earlier, self.pipeline.recipe(upstream))
            else:
                yield from self._own(chain, name, old, new)

    def _upstream(self, step: str, name: str, value: str) -> str:
        """The step whose key, or whose set of packages, an input is; empty when it is none."""
        for need in self.pipeline.steps[step].needs:
            if name == need or self.pipeline.recipe(need).key == value:
                return need
            if need.startswith("packages:") and name in ("packages", f"beside {need.partition(':')[2]}"):
                return need
        return ""

    def _recorded(self, step: str, value: str) -> Recipe | None:
        store, stage = self.pipeline.store, self.pipeline.recipe(step).stage
        if stage != "packages":
            return store.recorded(stage, value)
        sets = ((key, self._set_of(key)) for key in store.keys(stage))
        return next((store.recorded(stage, key) for key, debs in sets if debs and debs.digest == value), None)

    def _set_of(self, key: str) -> DebSet | None:
        path = self.pipeline.store.folder("packages", key) / "debs.json"
        return lockfile.read_set(path) if path.is_file() else None

    def _own(self, chain: tuple[str, ...], name: str, old: Recipe, new: Recipe) -> Iterator[Change]:
        """What of an input differs."""
        before, after = old.decided.get(name, ABSENT), new.decided.get(name, ABSENT)
        stage = new.stage
        if name in old.files and name in new.files:
            kind = CODE if name == "code" else FILE
            yield from self._pairs(chain, kind, old.files[name], new.files[name])
        elif name in old.origins and name in new.origins:
            yield from self._git(chain, old.origins[name], new.origins[name])
        elif stage == "packages" and name == "locked":
            yield from self._locked(chain, old, new)
        elif name == "settings" and before != ABSENT:
            values = [{key: json.dumps(value) for key, value in json.loads(text).items()} for text in (before, after)]
            table = f"[sources.{chain[-1].partition(':')[2]}]"
            rows = ({f"{table} {key}": value for key, value in one.items()} for one in values)
            yield from self._pairs(chain, SETTING, *rows)
        elif name.startswith("tool "):
            kind = CODE if name == "tool runner" else TOOL
            what = "command.py" if name == "tool runner" else name.removeprefix("tool ")
            yield Change(kind=kind, what=what, old=before, new=after, chain=chain)
        else:
            yield _setting(chain, name, before, after)

    def _pairs(
        self, chain: tuple[str, ...], kind: str, old: Mapping[str, str], new: Mapping[str, str]
    ) -> Iterator[Change]:
        for name in sorted({*old, *new}):
            before, after = old.get(name, ABSENT), new.get(name, ABSENT)
            if before != after:
                yield Change(kind=kind, what=name, old=before, new=after, chain=chain)

    def _git(self, chain: tuple[str, ...], old: str, new: str) -> Iterator[Change]:
        """From two listings of trees to the files in them that differ, by git's own digests."""
        before, after = _entries(old), _entries(new)
        for path in sorted({*before, *after}):
            pair = before.get(path, ""), after.get(path, "")
            if pair[0] != pair[1]:
                inner = self._files_between(chain[-1], path, pair)
                yield from self._pairs(chain, FILE, *(inner or [{path: one or ABSENT} for one in pair]))

    def _files_between(self, step: str, path: str, pair: tuple[str, str]) -> list[dict[str, str]]:
        """The files that differ between two trees, then and now; empty where git no longer has one of them."""
        source = step.partition(":")[2]
        settings = self.pipeline.settings
        sources = settings.sources
        try:
            repository = self.pipeline.commit(source).repository if source in sources else settings.root_folder
            rows = self.pipeline.answers.fixed(repository, "diff-tree", "-r", "--no-renames", "-z", *pair).split("\0")
        except SourceError:
            return []
        found: list[dict[str, str]] = [{}, {}]
        for about, name in zip(rows[::2], rows[1::2], strict=False):
            for side, digest in zip(found, about.split()[2:4], strict=True):
                if digest.strip("0"):
                    side[f"{path}/{name}"] = digest
        return found

    def _locked(self, chain: tuple[str, ...], old: Recipe, new: Recipe) -> Iterator[Change]:
        before, after = self._set_of(old.key), self.pipeline.supply.foreseen(new.name)
        if before is None or isinstance(after, str):
            was = f"{len(before.debs)} packages" if before else ABSENT
            now = after if isinstance(after, str) else f"{len(after.debs)} packages"
            yield Change(kind=PACKAGE, what="the lock", old=was, new=now, chain=chain)
            return
        sides = [{deb.name: _said(deb) for deb in one.debs} for one in (before, after)]
        rows = list(self._pairs(chain, PACKAGE, *sides))
        dates = Change(
            kind=PACKAGE, what="the archive's date", old=str(before.epoch), new=str(after.epoch), chain=chain
        )
        yield from rows or [dates]


def _said(deb: Deb) -> str:
    return f"{deb.version} {deb.sha256}"


def _entries(listing: str) -> dict[str, str]:
    """Path -> digest, as `git ls-tree` prints them."""
    rows = (line.partition("\t") for line in listing.splitlines())
    return {path: about.split()[2] for about, _, path in rows if path}


def _setting(chain: tuple[str, ...], name: str, old: str, new: str) -> Change:
    """An input that stands in the pipeline file under a name of its own, or is something else."""
    stage, _, part = chain[-1].partition(":")
    named = {
        "asked for": f"[{TABLES.get(part, part)}] packages",
        "maintainer": "[product] maintainer",
        "product": "[product] name",
        "engine": "[engine] kind",
        "dated name": f"[images.{part}] dated_name",
        "debs": f"[images.{part}] debs",
        "containerfile": f"[images.{part}]",
        "paths": f"[sources.{part}] ships",
        "wish": "what the lock is asked for",
        "choice": "[network_test] endurance",
        "beside": "[network_test] beside",
    }
    if stage == "base" and name in ("exclude", "include", "remove"):
        named[name] = f"[{TABLES.get(part, part)}] {name}"
    if name not in named:
        return Change(kind=OTHER, what=name, old=old, new=new, chain=chain)
    words = old.split(), new.split()
    if name in ("asked for", "exclude", "include", "remove"):
        old, new = (" ".join(word for word in one if word not in other) for one, other in (words, words[::-1]))
    return Change(kind=SETTING, what=named[name], old=old or ABSENT, new=new or ABSENT, chain=chain)


def as_json(found: list[Explanation]) -> list[dict[str, Any]]:
    """For machines."""
    return [
        {
            "step": one.step,
            "state": one.state,
            "old_key": one.old,
            "new_key": one.new,
            "changes": [
                {"kind": row.kind, "what": row.what, "old": row.old, "new": row.new, "chain": list(row.chain)}
                for row in one.changes
            ],
        }
        for one in found
    ]


def text(one: Explanation) -> str:
    """For people: the chain once, then what changed at its end."""
    if one.old == one.new:
        return f"{one.step}: {one.state} (key {one.new[:SHOWN_DIGITS]})"
    if not one.old:
        return f"{one.step}: {one.state}"
    lines = [f"{one.step}: {one.state} (key {one.old[:SHOWN_DIGITS]} -> {one.new[:SHOWN_DIGITS]})"]
    for chain in dict.fromkeys(row.chain for row in one.changes):
        rows = [row for row in one.changes if row.chain == chain]
        lines.append(f"  {' <- '.join(chain)}")
        width = max(len(row.what) for row in rows[:SHOWN_CHANGES])
        lines += [f"    {row.kind:<14}  {row.what:<{width}}  {_pair(row)}" for row in rows[:SHOWN_CHANGES]]
        if len(rows) > SHOWN_CHANGES:
            lines.append(f"    and {len(rows) - SHOWN_CHANGES} more (--json has them all)")
    return "\n".join(lines)


def _pair(row: Change) -> str:
    return f"{_short(row.old)} -> {_short(row.new)}"


def _short(value: str) -> str:
    """Digests by their first digits, a version before one as it is."""
    return " ".join(word[:SHOWN_DIGITS] if _is_digest(word) else word for word in value.split())


def _is_digest(word: str) -> bool:
    plain = word.removeprefix("sha256:").removesuffix("+x")
    return len(plain) in (40, 64) and not plain.strip("0123456789abcdef")
