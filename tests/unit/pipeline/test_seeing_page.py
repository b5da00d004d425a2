"""The build's page: what it says, and that no log, name or size can break it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import tarfile
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging.errors import StoreError
from xwhep_packaging.seeing import page, tested, words
from xwhep_packaging.seeing.changes import Change, changes
from xwhep_packaging.seeing.places import Places
from xwhep_packaging.store import Draft, Recipe, Store

MOST_BYTES = 1_000_000
HOSTILE = """</pre></details></script><img src=x onerror="document.title='owned'"><script>alert(1)</script>"""
DIGEST = "sha256:" + "ab" * 32
JUNIT = """<testsuites><testsuite><testcase classname="test_main_job" name="test_job_goes_through[server]" time="1.5"/>
<testcase classname="test_main_job" name="test_bad" time="0.1"><failure/></testcase></testsuite></testsuites>"""


@dataclasses.dataclass
class Build:
    """A store with a build in it, made step by step from made-up contents."""

    store: Store
    latest: dict[str, Any]

    def make(self, step: str, files: dict[str, bytes], inputs: dict[str, str] | None = None) -> str:
        stage, _, name = step.partition(":")
        recipe = Recipe(stage=stage, name=name or "grid", inputs=inputs or {})

        def write(draft: Draft) -> None:
            for file, content in files.items():
                (draft.folder / file).write_bytes(content)

        self.store.make(recipe, write)
        self.latest["keys"][step] = recipe.key
        self.latest["needs"].setdefault(step, [])
        self.latest["seconds"][step] = 2.5
        self.store.remember_seconds(step, recipe.key, 2.5)
        return recipe.key

    def log(self, step: str, text: str) -> None:
        stage, _, name = step.partition(":")
        path = self.store.log(stage, name or "grid")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def page(self) -> str:
        self.store.write_latest(self.latest)
        return page.write(self.store).read_text(encoding="utf-8")


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


ROOT = tar(
    {
        "./usr/bin/python3": b"p" * 9000,
        "./var/lib/dpkg/info/python3.list": b"/usr/bin/python3\n",
        "./var/lib/dpkg/status": b"Package: python3\nSection: python\n",
    }
)


@pytest.fixture
def build(store: Store) -> Build:
    image = {"name": "server", "digest": DIGEST, "tags": ["grid-server:1", "dated:latest"], "size": 98_000_000}
    latest: dict[str, Any] = {
        "product": "grid",
        "version": "1.0",
        "commit": "c0ffee" * 6,
        "date": "2023-11-14T22:13:20Z",
        "dirty": False,
        "finished_at": 1_700_000_000,
        "debs": [{"package": "grid-server", "version": "1.0", "sha256": "cd" * 32, "size": 12_345}],
        "images": [{**image, "layers": ["base", "own"], "layer_sizes": [97_000_000, 1_000_000]}],
        "bound": [],
        "drifted": [],
        "verdict": "passed",
        "engine": "podman",
        "network_test": {"tests": 2},
        "endurance": {"verdict": "not run"},
        "timings": {"ready_s": 0.5},
        "keys": {},
        "needs": {"network_test": ["base:rootfs"]},
        "seconds": {},
    }
    made = Build(store, latest)
    made.make("base:rootfs", {"root.tar": ROOT, "packages.tsv": b"python3\t3.13.5-1\tamd64\n"}, {"packages": "one"})
    made.make("network_test", {"junit.xml": JUNIT.encode(), "server.log": b"ready\n"})
    return made


class Elements(HTMLParser):
    """Every element of a page, and everything that points elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.targets: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.handlers += [name for name, value in attrs if name.startswith("on")]


def test_page_says_what_was_built(build: Build) -> None:
    text = build.page()
    for said in ("grid 1.0", "c0ffeec0ffee", "12.3 kB", "98.0 MB", "grid-server:1", "python3: 9.0 kB", "2 passed"):
        assert said in text, said
    for said in ("job goes through [server]", "1 not passed", "ready", "after base:rootfs", "network_test"):
        assert said in text, said


def test_page_is_one_file_that_loads_and_runs_nothing(build: Build) -> None:
    elements = Elements(build.page())
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(elements.names)
    assert all(target.startswith("#") for target in elements.targets)
    assert elements.handlers == []


@pytest.mark.parametrize("place", ["container", "step", "version", "test", "package", "reason"])
def test_hostile_text_stays_text(build: Build, place: str) -> None:
    if place == "container":
        build.make("network_test", {"server.log": HOSTILE.encode()}, {"again": "1"})
    elif place == "step":
        build.log("base:rootfs", HOSTILE)
    elif place == "version":
        build.latest["version"] = HOSTILE
    elif place == "test":
        junit = f"<testsuite><testcase classname='{escape(HOSTILE)}' name='{escape(HOSTILE)}' time='1'/></testsuite>"
        build.make("network_test", {"junit.xml": junit.encode()}, {"again": "2"})
    elif place == "package":
        build.latest["debs"][0]["package"] = HOSTILE
    else:
        build.latest["drifted"] = [HOSTILE]
    text = build.page()
    elements = Elements(text)
    assert {"script", "img"}.isdisjoint(elements.names)
    assert elements.handlers == []
    assert "onerror=" in text, "it is shown, as text"


@pytest.mark.parametrize(
    "line", ["a line of a log, as long as they are\n", "<&\"'>" * 40 + "\n", "<", "\x00\x1b[31m\n"]
)
def test_big_logs_keep_the_page_below_a_megabyte(build: Build, line: str) -> None:
    big = (line * (3_000_000 // len(line))).encode()
    build.make("network_test", {f"worker-{n}.log": big for n in range(9)}, {"again": "3"})
    build.log("base:rootfs", big.decode())
    text = build.page()
    assert len(text.encode()) < MOST_BYTES
    assert text.count("are left out; the whole is") == 10


def test_unreadable_report_of_tests_and_absent_root_are_said(build: Build, store: Store) -> None:
    build.make("network_test", {"junit.xml": b"<testsuite><cut"}, {"again": "4"})
    build.latest["keys"]["base:rootfs"] = "gone"
    text = build.page()
    assert "no longer has the tests" in text
    assert "no longer has the root file system" in text


def test_latest_of_an_older_pipeline_is_shown_too(build: Build) -> None:
    del build.latest["needs"]
    assert "grid 1.0" in build.page()


def test_verdict_of_verify_is_shown_with_what_it_was_of(build: Build) -> None:
    record = {"name": "ci-1", "variations": ["time"], "verdict": "identical", "compared": 9, "seconds": 3.0}
    verdict = {"rebuilds": [record], "not_possible_here": {"locale": "no such"}, "compared": 9, "identical": True}
    folder = build.store.scratch("verify")
    keys = {"network_test": build.latest["keys"]["network_test"]}
    (folder / "latest.json").write_text(json.dumps({**verdict, "differences": [], "keys": keys}))
    text = build.page()
    assert "the same bits" in text
    assert "not possible here: no such" in text
    (folder / "latest.json").write_text(json.dumps({**verdict, "differences": [], "keys": {"network_test": "old"}}))
    assert "Of an earlier build:" in build.page()


def test_no_build_is_said(store: Store) -> None:
    with pytest.raises(StoreError, match="no build") as caught:
        page.write(store)
    assert caught.value.next_step == "scripts/doit build"


# What changed


def test_first_build_has_nothing_to_compare_with(build: Build) -> None:
    assert not changes(None, build.latest, Places(build.store)).known
    assert "first build" in build.page()


def test_changes_name_versions_digests_and_where_it_began(build: Build) -> None:
    before = json.loads(json.dumps(build.latest))
    build.make("base:rootfs", {"packages.tsv": b"python3\t3.13.5-2\tamd64\ntini\t1\tamd64\n"}, {"packages": "two"})
    build.latest["debs"][0] |= {"version": "1.1", "sha256": "ef" * 32, "size": 12_445}
    found = changes(before, build.latest, Places(build.store))
    assert found.steps == (Change(name="base:rootfs", before="", after="packages"),)
    assert found.debs == (Change(name="grid-server", before="1.0", after="1.1", more="+100 bytes"),)
    assert found.images == ()
    assert [(one.name, one.before, one.after) for one in found.packages] == [
        ("python3", "3.13.5-1", "3.13.5-2"),
        ("tini", "", "1"),
    ]


def test_step_that_differs_only_by_what_it_needs_is_not_named(build: Build) -> None:
    before = json.loads(json.dumps(build.latest))
    build.make("network_test", {}, {"base:rootfs": "another key"})
    assert changes(before, build.latest, Places(build.store)).steps == ()


def test_page_shows_the_build_before(build: Build) -> None:
    build.page()
    build.latest["commit"] = "decade" * 6
    build.latest["debs"][0] |= {"version": "1.1", "sha256": "ef" * 32}
    text = build.page()
    assert re.search(r"since the previous build, of commit\s+<code>c0ffeec0ffee</code>", text)
    assert '<span class="was">1.0</span>' in text


# Words


def test_excerpt_is_whole_when_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.write_text("first\nlast\n")
    found = words.excerpt(path, 1000)
    assert (found.text, found.left_out, found.note) == ("first\nlast", 0, "")


def test_excerpt_keeps_the_end_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.write_text("".join(f"line {n}\n" for n in range(1000)))
    found = words.excerpt(path, 100)
    assert found.text.splitlines()[-1] == "line 999"
    assert all(line.startswith("line ") for line in found.text.splitlines())
    assert len(found.text) <= 100
    assert str(path) in found.note


def test_terminal_commands_and_hidden_characters_are_taken_out() -> None:
    shown = words.plain("\x1b[31mred\x1b[0m \x1b]0;title\x07 a\x00b \u202edesrever\n\ttab")
    assert shown == "red  a\ufffdb \ufffddesrever\n\ttab"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.004, "4 ms"), (0.44, "0.4 s"), (59.94, "59.9 s"), (64.4, "1 min 04 s")]
)
def test_seconds(seconds: float, shown: str) -> None:
    assert words.seconds(seconds) == shown


@pytest.mark.parametrize("seconds", [0, 0.5, 7, 83, 700, 9000])
def test_axis_has_few_round_ticks(seconds: float) -> None:
    found = page.ticks(seconds)
    assert found[0] == 0
    assert found[-1] <= seconds
    assert len(found) <= 7


def test_groups_of_tests(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(JUNIT)
    group = tested.groups(path)[0]
    assert (group.name, group.failed, group.seconds) == ("main job", 1, pytest.approx(1.6))
    assert [test.verdict for test in group.tests] == ["passed", "failure"]
    assert tested.groups(None) == []
