"""The store: old or new and never half, whatever is killed, damaged or full."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from xwhep_packaging.artefacts import Manifest, Output
from xwhep_packaging.errors import BuildError, StoreError
from xwhep_packaging.store import DETAILS, FINGERPRINT, MANIFEST, Draft, Recipe, Store, write_durably

RECIPE = Recipe(stage="demo", name="thing", inputs={"source": "1"})
KILLS = 25


def make_two(draft: Draft) -> None:
    (draft.folder / "a").write_text("one")
    (draft.folder / "deep").mkdir()
    (draft.folder / "deep" / "b").write_text("two")
    draft.facts["version"] = "1.0"


def refuse(draft: Draft) -> None:
    pytest.fail("it was made already")


@pytest.fixture
def output(store: Store) -> Output:
    return store.make(RECIPE, make_two)


# Keys


def test_key_depends_on_everything_that_is_said() -> None:
    others = [
        Recipe(stage="other", name="thing", inputs={"source": "1"}),
        Recipe(stage="demo", name="other", inputs={"source": "1"}),
        Recipe(stage="demo", name="thing", inputs={"source": "2"}),
        Recipe(stage="demo", name="thing", inputs={"sourc": "e1"}),
        Recipe(stage="demo", name="thing", inputs={"source": "1", "more": ""}),
    ]
    assert len({RECIPE.key, *(other.key for other in others)}) == len(others) + 1


def test_key_does_not_depend_on_order() -> None:
    one, two = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert Recipe(stage="s", name="n", inputs=one).key == Recipe(stage="s", name="n", inputs=two).key


# Publication


def test_made_output_has_its_files_and_manifest(store: Store, output: Output) -> None:
    assert output.path("deep/b").read_text() == "two"
    assert output.folder == store.folder("demo", RECIPE.key)
    manifest = json.loads((output.folder / MANIFEST).read_text())
    assert manifest["files"]["a"] == {
        "size": 3,
        "sha256": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    }
    assert manifest["inputs"] == {"source": "1"}
    assert manifest["facts"] == {"version": "1.0"}
    assert set(manifest["files"]) == {"a", "deep/b"}


def test_manifest_holds_no_time_and_no_place(tmp_path: Path) -> None:
    """Two equal outputs have equal manifests, wherever and whenever they were made."""
    first = Store(tmp_path / "one").make(RECIPE, make_two).folder / MANIFEST
    time.sleep(0.01)
    second = Store(tmp_path / "two").make(RECIPE, make_two).folder / MANIFEST
    assert first.read_bytes() == second.read_bytes()


def test_found_again_and_not_made_twice(store: Store, output: Output) -> None:
    assert store.find(RECIPE) == output
    assert store.make(RECIPE, refuse) == output


def test_other_recipe_is_not_found(store: Store, output: Output) -> None:
    assert store.find(Recipe(stage="demo", name="thing", inputs={"source": "2"})) is None


def test_refused_output_is_made_again(store: Store, output: Output) -> None:
    """`accept` says that it is no longer where it belongs: an image that was removed, say."""
    again = store.make(RECIPE, make_two, accept=lambda found: False)
    assert again.manifest == output.manifest


def test_nothing_is_left_beside_the_output(store: Store, output: Output) -> None:
    assert list((store.root / "tmp").iterdir()) == []
    assert sorted(path.name for path in output.folder.iterdir()) == ["a", "deep", FINGERPRINT, DETAILS, MANIFEST]


def test_failed_maker_publishes_nothing_and_keeps_the_remains(store: Store) -> None:
    def fail(draft: Draft) -> None:
        (draft.folder / "half").write_text("half")
        raise BuildError("no")

    with pytest.raises(BuildError):
        store.make(RECIPE, fail)
    assert store.find(RECIPE) is None
    assert (store.root / "failed" / "demo-thing" / "half").read_text() == "half"
    assert store.make(RECIPE, make_two).path("a").is_file()


def test_remains_of_a_killed_run_are_cleared(store: Store) -> None:
    left = store.root / "tmp" / f"demo-{RECIPE.key[:16]}"
    left.mkdir(parents=True)
    (left / "stray").write_text("from a killed run")
    assert set(store.make(RECIPE, make_two).manifest.files) == {"a", "deep/b"}


def test_unknown_file_of_an_output(output: Output) -> None:
    with pytest.raises(KeyError):
        output.path("c")


# Damage


def flip(path: Path) -> None:
    """Change one bit and set the modification time back: what an equal mtime must not hide."""
    stat = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file of the same size and time under the name."""
    stat = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"x" * stat.st_size)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("a", flip, id="one bit under the same mtime"),
        pytest.param("deep/b", replace, id="replaced under the same mtime"),
        pytest.param("a", Path.unlink, id="missing"),
        pytest.param("a", lambda path: path.write_text(""), id="emptied"),
        pytest.param(MANIFEST, lambda path: path.write_bytes(path.read_bytes()[:40]), id="manifest truncated"),
        pytest.param(MANIFEST, lambda path: path.write_text("[]"), id="manifest of another form"),
        pytest.param(MANIFEST, Path.unlink, id="manifest missing"),
        pytest.param(FINGERPRINT, Path.unlink, id="fingerprint missing"),
    ],
)
def test_damage_is_noticed_and_mended(store: Store, output: Output, name: str, damage: object) -> None:
    assert callable(damage)
    damage(output.folder / name)
    assert store.find(RECIPE) is None
    again = store.make(RECIPE, make_two)
    assert (again.path("a").read_text(), again.path("deep/b").read_text()) == ("one", "two")
    assert store.find(RECIPE) == again


def test_copied_store_is_still_whole(store: Store, output: Output) -> None:
    """The same bytes under new times: whole hashes decide, and the fingerprint is written anew."""
    os.utime(output.path("a"), ns=(0, 0))
    before = (output.folder / FINGERPRINT).read_bytes()
    assert store.find(RECIPE) == output
    assert (output.folder / FINGERPRINT).read_bytes() != before


def test_verified_names_the_damaged_files(store: Store, output: Output) -> None:
    assert store.verified(output) == []
    flip(output.path("deep/b"))
    assert store.verified(output) == ["deep/b"]


# Processes


MAKER = """
    import sys, time
    from pathlib import Path
    from xwhep_packaging.store import Recipe, Store
    root, tell = Path(sys.argv[1]), Path(sys.argv[2])
    def make(draft):
        with tell.open("a") as stream:
            stream.write("made\\n")
        for n in range(20):
            (draft.folder / f"file{n}").write_bytes(bytes([n]) * 50_000)
            time.sleep(float(sys.argv[3]))
    output = Store(root).make(Recipe(stage="demo", name="big", inputs={"n": sys.argv[4]}), make)
    print(len(output.manifest.files))
"""
PACKAGING = Path(__file__).resolve().parents[3] / "packaging"


def start_maker(root: Path, tell: Path, pause: float, number: int = 1) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(MAKER), str(root), str(tell), str(pause), str(number)]
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(PACKAGING)}, start_new_session=True
    )


def test_killed_maker_leaves_old_or_new(tmp_path: Path) -> None:
    """SIGKILL at many moments of one making, from before its first file to after its last."""
    recipe = Recipe(stage="demo", name="big", inputs={"n": "1"})
    store, tell = Store(tmp_path / "store"), tmp_path / "tell"
    cut_short = 0
    for kill in range(KILLS):
        process = start_maker(store.root, tell, 0.001)
        while not tell.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(kill * 0.0025)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = store.find(recipe)
        if found is None:
            cut_short += 1
        else:
            assert store.verified(found) == []
            assert len(found.manifest.files) == 20
            (found.folder / MANIFEST).unlink()  # so that the next one makes it again
        tell.unlink()
    assert cut_short > 0, "no kill came in time: the test saw nothing"
    assert len(store.make(recipe, make_two).manifest.files) == 2


def test_two_processes_make_one_key_once(tmp_path: Path) -> None:
    tell = tmp_path / "tell"
    processes = [start_maker(tmp_path / "store", tell, 0.01) for _ in range(2)]
    outs = [process.communicate(timeout=30)[0] for process in processes]
    assert outs == ["20\n", "20\n"]
    assert tell.read_text() == "made\n"


def test_different_keys_are_made_at_once(tmp_path: Path) -> None:
    """The lock is per key: the second does not wait for the first."""
    store, first_is_in, second_is_done = Store(tmp_path), threading.Event(), threading.Event()

    def slow(draft: Draft) -> None:
        first_is_in.set()
        assert second_is_done.wait(10)

    thread = threading.Thread(target=lambda: store.make(RECIPE, slow))
    thread.start()
    assert first_is_in.wait(10)
    store.make(Recipe(stage="demo", name="thing", inputs={"source": "2"}), make_two)
    second_is_done.set()
    thread.join(10)
    assert store.find(RECIPE)


def test_killed_owner_of_a_lock_frees_it(tmp_path: Path) -> None:
    tell = tmp_path / "tell"
    process = start_maker(tmp_path / "store", tell, 60)
    while not tell.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    second = start_maker(tmp_path / "store", tell, 0)
    assert second.communicate(timeout=10)[0] == "20\n"


# Disks


def test_full_disk_is_a_store_error_and_publishes_nothing(small_disk: Path) -> None:
    store = Store(small_disk / "_build")

    def fill(draft: Draft) -> None:
        (draft.folder / "big").write_bytes(b"x" * 200_000)
        (draft.folder / "facts").mkdir()
        draft.facts["long"] = "y" * 100_000  # the manifest no longer fits

    with pytest.raises(StoreError, match="the disk is full") as caught:
        store.make(RECIPE, fill)
    assert "free disk space" in caught.value.next_step
    assert store.find(RECIPE) is None
    assert store.make(RECIPE, make_two).path("a").is_file()


def test_disk_that_fills_while_a_maker_writes(small_disk: Path) -> None:
    """A maker's own write fails: an error of the store, and the next making works."""
    store = Store(small_disk / "_build")
    with pytest.raises(StoreError, match="the disk is full"):
        store.make(RECIPE, lambda draft: draft.folder.joinpath("big").write_bytes(b"x" * 400_000) and None)
    assert not (store.root / "failed").exists(), "the remains keep the disk full"
    assert store.make(RECIPE, make_two).path("a").is_file()


def test_read_only_store_is_a_store_error(small_disk: Path) -> None:
    store = Store(small_disk / "_build")
    output = store.make(RECIPE, make_two)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert store.find(RECIPE) == output
    with pytest.raises(StoreError, match="cannot write") as caught:
        store.make(Recipe(stage="demo", name="other", inputs={}), make_two)
    assert "XWHEP_STORE" in caught.value.next_step


def test_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "_build").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "_build").make(RECIPE, make_two)


def test_write_durably_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_write_durably_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# What a build remembers


def test_latest(store: Store) -> None:
    assert store.read_latest() is None
    store.scratch("logs")
    path = store.write_latest({"verdict": "passed"})
    assert store.read_latest() == {"verdict": "passed"}
    path.write_text("{half")
    assert store.read_latest() is None
    path.write_text("[]")
    assert store.read_latest() is None


def test_seconds_are_those_of_the_present_key(store: Store) -> None:
    store.scratch("logs")
    store.remember_seconds("debs:a", "k1", 1.23456)
    store.remember_seconds("debs:a", "k2", 2.0)
    store.remember_seconds("debs:b", "k3", 3.0)
    assert store.last_seconds({"debs:b": "k3", "debs:a": "k1", "images:c": "k4"}) == {"debs:b": 3.0, "debs:a": 1.235}


def test_history_tells_when_and_in_which_run(store: Store) -> None:
    store.scratch("logs")
    before = time.time()
    Store(store.root, run=before - 2).remember_seconds("debs:a", "k1", 1.5)
    (entry,) = store.history()
    assert (entry.step, entry.key, entry.seconds, entry.run) == ("debs:a", "k1", 1.5, round(before - 2, 3))
    assert before - 0.001 <= entry.end <= time.time() + 0.001
    assert entry.at == int(entry.end)


def test_history_of_an_older_pipeline_is_read(store: Store) -> None:
    store.scratch("logs")
    (store.root / "history.jsonl").write_text('{"step": "a", "key": "k", "seconds": 2.5, "at": 1795825371}\n')
    assert store.last_seconds({"a": "k"}) == {"a": 2.5}
    assert (store.history()[0].end, store.history()[0].run) == (0, 0)


def test_latest_of_another_build_is_kept_as_the_previous(store: Store) -> None:
    store.scratch("logs")
    one = {"commit": "c1", "keys": {"a": "k1"}}
    store.write_latest(one)
    assert store.read_previous() is None
    store.write_latest({**one, "endurance": "passed"})
    assert store.read_previous() is None, "the same build, which says more of itself"
    store.write_latest({**one, "commit": "c2"})
    assert store.read_previous() == {**one, "endurance": "passed"}
    store.write_latest({"commit": "c2", "keys": {"a": "k2"}})
    assert (store.read_previous() or {})["keys"] == {"a": "k1"}


def test_manifest_by_key_alone(store: Store, output: Output) -> None:
    assert store.manifest(output.manifest.key) == output.manifest
    assert store.manifest("none") is None


def test_torn_history_lines_are_passed_over(store: Store) -> None:
    store.scratch("logs")
    store.remember_seconds("a", "k", 1.0)
    with (store.root / "history.jsonl").open("a") as stream:
        stream.write('{"step": "a", "key"\n{}\n')
    assert store.last_seconds({"a": "k"}) == {"a": 1.0}
    assert Store(store.root / "none").last_seconds({"a": "k"}) == {}


def test_manifest_type_is_what_is_written(output: Output) -> None:
    assert isinstance(output.manifest, Manifest)
    assert output.matching("b") == [output.folder / "deep/b"]
