"""Each kind of input, changed for real, is named with what it was and what it is, by the right chain."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pretended import Pretended
from xwhep_packaging import explain, toolset
from xwhep_packaging.errors import SettingsError
from xwhep_packaging.explain import ABSENT, CODE, FILE, PACKAGE, SETTING, TOOL, Change

TO_SERVER = ("images:server", "debs:grid", "source:grid")


def changes(grid: Pretended, step: str) -> list[Change]:
    return list(explain.explain(grid.run(), step).changes)


def told(row: Change) -> tuple[str, str]:
    return row.kind, row.what


def test_up_to_date_is_said(grid: Pretended) -> None:
    found = explain.explain(grid.run(), "images:server")
    assert (found.state, found.changes) == ("up to date", ())
    assert explain.text(found).startswith("images:server: up to date (key ")
    assert explain.first_to_make(grid.run()) == []


def test_a_changed_source_file(grid: Pretended) -> None:
    """By git's own digests, in a folder below what ships, beside one that is new and one that is gone."""
    old = grid.repository.git("rev-parse", "HEAD:src/more/deep.py")
    grid.repository.write("src/more/deep.py", "2\n")
    grid.repository.write("src/new.py", "")
    grid.repository.git("rm", "--quiet", "src/main.py")
    grid.repository.commit("change")
    rows = {row.what: row for row in changes(grid, "images:server") if row.kind == FILE}
    assert set(rows) == {"src/more/deep.py", "src/new.py", "src/main.py"}
    new = grid.repository.git("rev-parse", "HEAD:src/more/deep.py")
    assert rows["src/more/deep.py"] == Change(kind=FILE, what="src/more/deep.py", old=old, new=new, chain=TO_SERVER)
    assert rows["src/new.py"].old == rows["src/main.py"].new == ABSENT


def test_a_changed_file_of_an_image(grid: Pretended) -> None:
    grid.repository.write("images/server/Containerfile", "FROM scratch\n# more\n")
    grid.repository.commit("image")
    rows = [row for row in changes(grid, "network_test") if row.kind == FILE]
    assert [(row.what, row.chain) for row in rows] == [
        ("images/server/Containerfile", ("network_test", "images:server"))
    ]


def test_a_changed_file_of_the_tests(grid: Pretended) -> None:
    test = grid.repository.write("tests/network/test_grid.py", "x = 1\n")
    (row,) = changes(grid, "network_test")
    assert (told(row), row.chain) == ((FILE, "test_grid.py"), ("network_test",))
    assert row.new == hashlib.sha256(b"x = 1\n").hexdigest()
    assert row.old == hashlib.sha256(b"").hexdigest()
    test.chmod(0o755)
    assert changes(grid, "network_test")[0].new == f"{row.new}+x"


def test_a_changed_setting(grid: Pretended) -> None:
    grid.replace('ships = ["src", "debian"]', 'ships = ["src", "debian"]\ncheck = true')
    (row,) = changes(grid, "network_test")
    assert (told(row), row.old, row.new) == ((SETTING, "[sources.grid] check"), "false", "true")
    assert row.chain == ("network_test", "images:server", "debs:grid")


def test_a_changed_list_names_what_came_and_went(grid: Pretended) -> None:
    grid.replace('exclude = ["/usr/share/doc/*"]', 'exclude = ["/usr/share/man/*"]')
    (row,) = changes(grid, "base:rootfs")
    assert (told(row), row.old, row.new) == ((SETTING, "[base] exclude"), "/usr/share/doc/*", "/usr/share/man/*")


def test_a_changed_tool(grid: Pretended) -> None:
    grid.versions["buildah"] = "2.0-1"
    rows = changes(grid, "images:server")
    assert {(*told(row), row.old, row.new, row.chain) for row in rows} == {
        (TOOL, "buildah", "1.0-1", "2.0-1", ("images:server",)),
        (TOOL, "buildah", "1.0-1", "2.0-1", ("images:server", "base:image")),
    }
    assert explain.first_to_make(grid.run()) == ["base:image"]


def test_a_changed_runner_is_code(grid: Pretended) -> None:
    grid.versions[toolset.RUNNER] = "f" * 64
    assert {told(row) for row in changes(grid, "source:grid")} == {(CODE, "command.py")}


def test_a_changed_locked_package(grid: Pretended) -> None:
    grid.debs["rootfs"] = "1.1-1"
    grid.lock()
    (row,) = changes(grid, "images:server")
    assert told(row) == (PACKAGE, "package-of-rootfs")
    assert (row.old.split()[0], row.new.split()[0]) == ("1.0-1", "1.1-1")
    assert row.chain == ("images:server", "base:image", "base:rootfs", "packages:rootfs")
    assert explain.first_to_make(grid.run()) == ["packages:rootfs"]


def test_a_lock_that_lacks_what_is_asked_for(grid: Pretended) -> None:
    grid.replace('packages = ["python3", "tini"]', 'packages = ["python3", "tini", "curl"]')
    rows = {told(row): row for row in changes(grid, "base:rootfs")}
    assert (rows[SETTING, "[base] packages"].old, rows[SETTING, "[base] packages"].new) == (ABSENT, "curl")
    assert "has changed since the lock was written" in rows[PACKAGE, "the lock"].new


def test_changed_code(grid: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xwhep_packaging.stages.images.digests_of", lambda *files: {"baking.py": "0" * 64})
    rows = [row for row in changes(grid, "images:server") if row.chain == ("images:server",)]
    assert (CODE, "baking.py") in {told(row) for row in rows}


# Where nothing changed, and yet something is to be made


def test_never_made(grid: Pretended) -> None:
    shutil.rmtree(grid.store.root)
    found = explain.explain(grid.run(), "images:server")
    assert explain.text(found) == "images:server: was never made here"
    assert "source:grid" in explain.first_to_make(grid.run())


def test_a_damaged_output(grid: Pretended) -> None:
    pipeline = grid.run()
    (pipeline.output("debs:grid").folder / "made").write_text("other")
    assert explain.explain(grid.run(), "debs:grid").state == "was made, and a file of it was changed"


def test_an_image_that_the_storage_lost(grid: Pretended) -> None:
    pipeline = grid.run()
    pipeline.steps["images:server"] = replace(pipeline.steps["images:server"], present=lambda output: False)
    assert "no longer in the storage" in explain.explain(pipeline, "images:server").state


def test_an_unknown_step(grid: Pretended) -> None:
    with pytest.raises(SettingsError, match="no step 'images:serve'"):
        explain.explain(grid.run(), "images:serve")


def without_history(grid: Pretended) -> None:
    (grid.store.root / "history.jsonl").unlink()


def without_details(grid: Pretended) -> None:
    """As an older pipeline left its outputs."""
    for path in grid.store.root.glob("*/*/inputs.json"):
        path.unlink()


@pytest.mark.parametrize("damage", [without_history, without_details])
def test_less_is_known(grid: Pretended, damage: Callable[[Pretended], None]) -> None:
    """The chain is right all the same; what cannot be named is shown by its digest."""
    damage(grid)
    grid.repository.write("src/more/deep.py", "2\n")
    grid.repository.commit("change")
    rows = changes(grid, "images:server")
    assert TO_SERVER in {row.chain for row in rows}
    assert all(row.old != row.new for row in rows)


def test_history_that_git_forgot(grid: Pretended) -> None:
    """The old trees are gone, as after a new clone: the folder is named."""
    for path in grid.store.root.glob("source/*/inputs.json"):
        path.write_text(path.read_text().replace("040000 tree ", "040000 tree 0000000"))
    grid.repository.write("src/more/deep.py", "2\n")
    grid.repository.commit("change")
    assert [row.what for row in changes(grid, "source:grid") if row.kind == FILE] == ["debian", "src"]


def test_both_texts(grid: Pretended) -> None:
    grid.repository.write("src/more/deep.py", "2\n")
    grid.repository.commit("change")
    found = explain.explain(grid.run(), "images:server")
    text = explain.text(found)
    assert "  images:server <- debs:grid <- source:grid\n" in text
    assert f"    {FILE:<14}  src/more/deep.py" in text
    (row,) = json.loads(json.dumps(explain.as_json([found])))
    assert (row["old_key"], row["new_key"]) == (found.old, found.new)
    assert row["changes"][0]["chain"] == list(found.changes[0].chain)
