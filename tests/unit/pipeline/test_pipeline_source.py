"""Stage source on real, small git repositories."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from repositories import FIRST_COMMIT_TIME, NewRepository, Repository
from xwhep_packaging.artefacts import Commit
from xwhep_packaging.definitions import DebianSource as SourceSettings
from xwhep_packaging.errors import NetworkError, SourceError
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import source
from xwhep_packaging.store import Draft, Store

FIRST_STAMP = "20231114.2213"


def resolved(settings: Settings, store: Store, **changes: object) -> Commit:
    """The commit of the small file's one source, with some of its settings replaced."""
    changed = msgspec.structs.replace(settings.sources["grid"], **changes)
    return source.resolve(msgspec.structs.replace(settings, sources={"grid": changed}), store, "grid")


def exported(store: Store, commit: Commit, tmp_path: Path, ships: list[str]) -> Path:
    folder = tmp_path / f"draft{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    draft = Draft(folder=folder, log=folder / "log")
    source.make_source(store, commit, SourceSettings(ships=ships), draft)
    return folder / "source.tar"


def members(tarball: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(tarball) as archive:
        return {member.name: member for member in archive if member.isfile()}


# Versions


def test_version_without_a_tag_is_dated(settings: Settings, store: Store) -> None:
    commit = resolved(settings, store)
    assert commit.version("11.0.0") == f"11.0.0~git{FIRST_STAMP}+{commit.sha[:7]}"


@pytest.mark.parametrize(
    ("sha", "kept"),
    [
        ("abcdef0123", "abcdef0"),
        ("b5521031c0", "b5521031c"),  # +b552103 would be a binary rebuild, whose source has another name
        ("b55210c100", "b55210c"),
        ("b5521035521", "b5521035521"),
    ],
)
def test_a_hash_is_never_taken_for_a_binary_rebuild(sha: str, kept: str, tmp_path: Path) -> None:
    commit = Commit(repository=tmp_path, origin="local", sha=sha, shipped_sha=sha, epoch=0, content="c")
    assert commit.version("1.0") == f"1.0~git19700101.0000+{kept}"


@pytest.mark.parametrize("tag", ["v11.2.0", "11.2.0"])
def test_version_from_a_tag(settings: Settings, store: Store, repository: Repository, tag: str) -> None:
    repository.tag(tag)
    assert resolved(settings, store).version("11.0.0") == "11.2.0"


@pytest.mark.parametrize("tag", ["release", "v11-rc", "vv1", "1.0\u0661"])
def test_tag_of_another_form_is_no_version(settings: Settings, store: Store, repository: Repository, tag: str) -> None:
    repository.tag(tag)
    assert resolved(settings, store).tag == ""


def test_tag_covers_later_commits_that_ship_nothing(settings: Settings, store: Store, repository: Repository) -> None:
    """Tagged after a change of documents only: the same packages, so the same version."""
    repository.write("docs/note.md", "another note\n")
    repository.commit("docs")
    repository.tag("v12.0")
    assert resolved(settings, store).version("11.0.0") == "12.0"


def test_tag_does_not_cover_a_change(settings: Settings, store: Store, repository: Repository) -> None:
    repository.tag("v12.0")
    repository.write("src/main.py", "print('two')\n")
    repository.commit("two")
    assert resolved(settings, store).tag == ""


def test_dated_version_sorts_before_its_release(settings: Settings, store: Store, repository: Repository) -> None:
    """dpkg's own order: an older commit, then a newer one, then the release."""
    first = resolved(settings, store).version("11.0.0")
    repository.write("src/main.py", "print('two')\n")
    repository.commit("two")
    second = resolved(settings, store).version("11.0.0")
    for lower, higher in ((first, second), (second, "11.0.0"), ("10.6", first)):
        assert subprocess.run(["dpkg", "--compare-versions", lower, "lt", higher], check=False).returncode == 0


# Time and content of what ships


def test_epoch_is_that_of_what_ships(settings: Settings, store: Store, repository: Repository) -> None:
    first = resolved(settings, store)
    repository.write("docs/note.md", "another note\n")
    later = repository.commit("docs")
    commit = resolved(settings, store)
    assert commit.sha == later != first.sha
    assert (commit.epoch, commit.shipped_sha, commit.content) == (FIRST_COMMIT_TIME, first.sha, first.content)


def test_commit_that_ships_nothing_changes_no_key(settings: Settings, store: Store, repository: Repository) -> None:
    definition = settings.sources["grid"]
    before = source.recipe("grid", definition, resolved(settings, store)).key
    repository.write("docs/note.md", "another note\n")
    repository.commit("docs")
    assert source.recipe("grid", definition, resolved(settings, store)).key == before
    repository.write("src/main.py", "print('two')\n")
    repository.commit("two")
    assert source.recipe("grid", definition, resolved(settings, store)).key != before


def test_dirty_tree_builds_the_commit_and_says_so(
    settings: Settings, store: Store, repository: Repository, tmp_path: Path
) -> None:
    clean = resolved(settings, store)
    repository.write("src/main.py", "print('loose')\n")
    dirty = resolved(settings, store)
    assert (clean.dirty, dirty.dirty) == (False, True)
    assert msgspec.structs.replace(dirty, dirty=False) == clean
    with tarfile.open(exported(store, dirty, tmp_path, ["src"])) as archive:
        content = archive.extractfile("src/main.py")
        assert content
        assert content.read() == b"print('one')\n"


def test_loose_files_that_do_not_ship_are_not_dirt(settings: Settings, store: Store, repository: Repository) -> None:
    repository.write("docs/draft.md", "later\n")
    assert not resolved(settings, store).dirty


@pytest.mark.parametrize("ref", ["main", "first-branch", "v1.0", "HEAD", "HEAD~0"])
def test_refs(settings: Settings, store: Store, repository: Repository, ref: str) -> None:
    repository.git("branch", "first-branch")
    repository.tag("v1.0")
    assert resolved(settings, store, ref=ref).sha == repository.git("rev-parse", "HEAD")


def test_older_commit_by_its_hash(settings: Settings, store: Store, repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.write("src/main.py", "print('two')\n")
    repository.commit("two")
    assert resolved(settings, store, ref=first[:10]).sha == first


def test_shallow_clone_is_seen(settings: Settings, store: Store, repository: Repository, tmp_path: Path) -> None:
    repository.commit("second")
    clone = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.folder}", str(clone))
    assert resolved(settings, store, location=str(clone)).shallow
    assert not resolved(settings, store).shallow


# Clear errors


@pytest.mark.parametrize("ref", ["no-such-branch", "deadbeef", "--upload-pack=touch x", "-x", "a b"])
def test_unknown_ref(settings: Settings, store: Store, ref: str) -> None:
    with pytest.raises(SourceError, match="no commit, tag or branch") as caught:
        resolved(settings, store, ref=ref)
    assert "branch --all" in caught.value.next_step


def test_empty_repository(settings: Settings, store: Store, new_repository: NewRepository) -> None:
    empty = new_repository("empty")
    with pytest.raises(SourceError, match="has no commit yet") as caught:
        resolved(settings, store, location=str(empty.folder))
    assert "git commit" in caught.value.next_step


@pytest.mark.parametrize("there", [True, False])
def test_no_repository(settings: Settings, store: Store, tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "loose files"
    if there:
        folder.mkdir()
    with pytest.raises(SourceError, match="is no git repository") as caught:
        resolved(settings, store, location=str(folder))
    assert "git init" in caught.value.next_step


def test_path_that_no_commit_holds(settings: Settings, store: Store) -> None:
    with pytest.raises(SourceError, match="holds none of other"):
        resolved(settings, store, ships=["other"])


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("git://127.0.0.1:9/none.git", id="nothing listens"),
        pytest.param("file:///nonexistent/none.git", id="nothing there"),
        pytest.param("ext::sh -c touch% /tmp/x", id="a transport that runs commands"),
    ],
)
def test_unreachable_repository(settings: Settings, store: Store, url: str) -> None:
    with pytest.raises(NetworkError, match="cannot fetch") as caught:
        resolved(settings, store, location=url)
    assert caught.value.exit_code == 13
    assert "network" in caught.value.next_step


def test_password_in_an_address_is_never_shown(settings: Settings, store: Store) -> None:
    with pytest.raises(NetworkError) as caught:
        resolved(settings, store, location="http://user:geheim@127.0.0.1:9/none.git")
    assert "geheim" not in caught.value.report()


# Remote repositories


def test_remote_repository(settings: Settings, store: Store, repository: Repository) -> None:
    url = f"file://{repository.folder}"
    local, remote = resolved(settings, store), resolved(settings, store, location=url)
    assert (remote.sha, remote.content, remote.epoch) == (local.sha, local.content, local.epoch)
    assert not remote.dirty
    second = repository.commit("second")
    assert resolved(settings, store, location=url).sha == second


def test_full_hash_needs_the_remote_only_once(settings: Settings, store: Store, repository: Repository) -> None:
    url, sha = f"file://{repository.folder}", repository.git("rev-parse", "HEAD")
    resolved(settings, store, location=url, ref=sha)
    repository.folder.rename(repository.folder.with_name("gone"))
    assert resolved(settings, store, location=url, ref=sha).sha == sha


@pytest.mark.parametrize(
    ("location", "remote"),
    [
        (".", False),
        ("/srv/x:y", False),
        ("../other", False),
        ("https://h/x.git", True),
        ("git@h:x.git", True),
        ("h:x.git", True),
    ],
)
def test_what_is_remote(location: str, remote: bool) -> None:
    assert source.is_remote(location) is remote


@pytest.mark.parametrize(
    ("location", "public"),
    [
        ("https://user:secret@h.invalid/x.git", "https://h.invalid/x.git"),
        ("git@h.invalid:x.git", "h.invalid:x.git"),
        ("/home/somebody/x", "local"),
        (".", "local"),
    ],
)
def test_origin_for_the_public(location: str, public: str) -> None:
    assert source.public_origin(location) == public


# Exports


def test_export_holds_what_ships_alone(settings: Settings, store: Store, tmp_path: Path) -> None:
    found = members(exported(store, resolved(settings, store), tmp_path, ["src"]))
    assert set(found) == {"src/main.py"}
    assert {member.mtime for member in found.values()} == {FIRST_COMMIT_TIME}


def test_export_is_the_same_from_two_clones(
    settings: Settings, store: Store, repository: Repository, tmp_path: Path
) -> None:
    """Attributes, umask, line ends and mode of the clones differ; the bytes do not."""
    repository.write("src/script.sh", "#!/bin/sh\n").chmod(0o755)
    repository.write("src/.gitattributes", "")
    repository.commit("script")
    digests = set()
    for name, options in (("one", []), ("two", ["-c", "core.autocrlf=true", "-c", "core.fileMode=false"])):
        clone = tmp_path / "clones" / name
        repository.git("clone", "--quiet", *options, str(repository.folder), str(clone))
        repository.git("-C", str(clone), "config", "tar.umask", "0077" if options else "0002")
        (clone / ".git" / "info").mkdir(exist_ok=True)
        commit = resolved(settings, store, location=str(clone))
        digests.add(hashlib.sha256(exported(store, commit, tmp_path, ["src"]).read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.fixture
def with_submodule(repository: Repository, new_repository: NewRepository) -> Repository:
    library = new_repository("library")
    library.write("lib.py", "print('library')\n")
    library.commit("library")
    repository.git("submodule", "--quiet", "add", f"file://{library.folder}", "src/library")
    repository.commit("with the library")
    return library


def test_submodules_are_exported(settings: Settings, store: Store, with_submodule: Repository, tmp_path: Path) -> None:
    found = members(exported(store, resolved(settings, store), tmp_path, ["src"]))
    assert set(found) == {"src/main.py", "src/library/lib.py"}


def test_submodule_with_an_odd_name(
    settings: Settings, store: Store, repository: Repository, with_submodule: Repository, tmp_path: Path
) -> None:
    address = f"file://{with_submodule.folder}"
    repository.git("submodule", "--quiet", "add", "--name", "my library", address, "src/my l\u00efbrary")
    repository.commit("odd")
    found = members(exported(store, resolved(settings, store), tmp_path, ["src"]))
    assert "src/my l\u00efbrary/lib.py" in found


def test_submodules_of_submodules(
    settings: Settings,
    store: Store,
    repository: Repository,
    with_submodule: Repository,
    new_repository: NewRepository,
    tmp_path: Path,
) -> None:
    deep = new_repository("deep")
    deep.write("deep.py", "")
    deep.commit("deep")
    with_submodule.git("submodule", "--quiet", "add", f"file://{deep.folder}", "inner")
    with_submodule.commit("with the deep one")
    repository.git("-C", "src/library", "pull", "--quiet", "origin", "main")
    repository.commit("newer library")
    found = members(exported(store, resolved(settings, store), tmp_path, ["src"]))
    assert "src/library/inner/deep.py" in found


def test_relative_submodule_address(
    settings: Settings, store: Store, repository: Repository, with_submodule: Repository, tmp_path: Path
) -> None:
    repository.write(".gitmodules", '[submodule "src/library"]\n\tpath = src/library\n\turl = ../library\n')
    repository.write("src/main.py", "print('a commit of what ships')\n")
    repository.commit("relative")
    assert "src/library/lib.py" in members(exported(store, resolved(settings, store), tmp_path, ["src"]))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        pytest.param("--upload-pack=touch${IFS}hacked", SourceError, id="an option"),
        pytest.param("ext::sh -c touch% hacked", NetworkError, id="a transport that runs commands"),
        pytest.param("", SourceError, id="none"),
    ],
)
def test_hostile_submodule_address(
    settings: Settings,
    store: Store,
    repository: Repository,
    with_submodule: Repository,
    tmp_path: Path,
    url: str,
    error: type[Exception],
) -> None:
    repository.write(".gitmodules", f'[submodule "src/library"]\n\tpath = src/library\n\turl = {url}\n')
    repository.write("src/main.py", "print('a commit of what ships')\n")
    repository.commit("hostile")
    commit = resolved(settings, store)
    with pytest.raises(error):
        exported(store, commit, tmp_path, ["src"])
    assert not list(tmp_path.rglob("hacked"))


def test_repository_in_a_subfolder(settings: Settings, store: Store, repository: Repository) -> None:
    """A source that is a folder of a bigger repository: only its own commits count."""
    repository.write("inner/src/a.py", "")
    inner = repository.commit("inner")
    repository.write("src/main.py", "print('two')\n")
    repository.commit("outer")
    assert resolved(settings, store, subfolder="inner").shipped_sha == inner
    assert source.shipped_paths(SourceSettings(subfolder="inner", ships=["b", "a"])) == [
        "inner/a",
        "inner/b",
    ]
    assert source.shipped_paths(SourceSettings()) == []


def test_bare_repository(settings: Settings, store: Store, repository: Repository, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    repository.git("clone", "--quiet", "--bare", str(repository.folder), str(bare))
    assert resolved(settings, store, location=str(bare)).sha == repository.git("rev-parse", "HEAD")


def test_image_folder_is_a_source_of_its_own(settings: Settings, repository: Repository) -> None:
    before = source.resolve_folder(settings, "images/server")
    repository.write("src/main.py", "print('two')\n")
    repository.commit("two")
    assert source.resolve_folder(settings, "images/server").content == before.content
    repository.write("images/server/Containerfile", "FROM scratch\nLABEL a=b\n")
    repository.commit("image")
    assert source.resolve_folder(settings, "images/server").content != before.content
