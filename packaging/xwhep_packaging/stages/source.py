"""Stage source: a commit of any git repository, exported clean.

┌────────────┐   resolve    ┌────────┐   export    ┌────────────┐
│ path or URL│ ───────────> │ Commit │ ──────────> │ source.tar │  what ships, times = the commit's
│ and a ref  │  (mirrored)  └────────┘ (submodules)└────────────┘
└────────────┘
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from xwhep_packaging import command, git_answers
from xwhep_packaging.artefacts import Commit, digests_of
from xwhep_packaging.command import Command
from xwhep_packaging.definitions import Source
from xwhep_packaging.errors import NetworkError, SourceError
from xwhep_packaging.git_answers import GIT_ENVIRONMENT, Answers, git_command
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, Store
from xwhep_packaging.temporary import temporary_folder

STAGE = "source"
TARBALL = "source.tar"
ABOUT = ("rev-parse", "--show-toplevel", "--is-shallow-repository")
FULL_SHA = re.compile(r"[0-9a-f]{40}")
VERSION_TAG = re.compile(r"v?[0-9]+(\.[0-9]+)*")
FETCH_TIMEOUT_S = 600
STATUS = ("status", "--porcelain", "--no-renames", "-z")
EXPORT_OPTIONS = ("-c", "tar.umask=0022", "-c", "core.autocrlf=false", "-c", "core.attributesFile=/dev/null")
ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}


def export(commit: Commit, paths: list[str], tarball: Path, log: Path | None = None) -> None:
    """Write `paths` (empty: all) as of the shipped commit to `tarball`; members carry that commit's time.

    Raises:
        SourceError: git fails.
    """
    _archive(commit.repository, log, f"--output={tarball}", commit.shipped_sha, "--", *paths)


def _archive(repository: Path, log: Path | None, *words: str) -> None:
    """git archive with the repository's objects alone: its settings, filters, .git/info/attributes and the names of its
    branches can each change bytes, and so can the user's."""
    asked = ("rev-parse", "--show-object-format", "--path-format=absolute", "--git-path", "objects")
    form, objects = Answers().ask(repository, *asked).splitlines()
    with temporary_folder("git") as bare:
        start = ["git", "init", "--quiet", "--bare", "--template=", f"--object-format={form}", str(bare)]
        command.run(Command(argv=start, env=ALONE, error=SourceError))
        argv = ["git", *EXPORT_OPTIONS, f"--git-dir={bare}", "archive", "--format=tar", *words]
        command.run(Command(argv=argv, env={**ALONE, "GIT_OBJECT_DIRECTORY": objects}, error=SourceError, log=log))


def shipped_paths(source: Source) -> list[str]:
    """The paths, relative to the repository, whose content is the source; empty means all."""
    prefix = Path(source.subfolder)
    return sorted(str(prefix / path) for path in source.ships) or ([source.subfolder] if source.subfolder else [])


def resolve(settings: Settings, store: Store, name: str, answers: Answers | None = None) -> Commit:
    """Find the commit that source `name` means now.

    Raises:
        SourceError: no repository there, no such ref or path, or a repository without commits.
        NetworkError: a remote repository does not answer.
    """
    answers, source = answers or Answers(), settings.sources[name]
    repository = _local_repository(settings, store, source, answers)
    return _commit(repository, source, f"source {name!r}", answers)


def resolve_folder(settings: Settings, folder: str, answers: Answers | None = None) -> Commit:
    """Find the last commit of a folder of the pipeline file's own repository."""
    answers, source = answers or Answers(), Source(subfolder=folder)
    repository = _checkout(settings.root_folder.absolute(), answers)
    return _commit(repository, source, f"folder {folder!r}", answers)


def _commit(repository: Path, source: Source, called: str, answers: Answers) -> Commit:
    sha = _resolve_ref(repository, source, answers)
    shallow = _about(repository, answers).shallow
    if _has_work_tree(repository):
        answers.ahead(repository, *STATUS)
    ask = answers.once if shallow else answers.fixed  # a shallow history may grow
    paths = shipped_paths(source)
    shipped = ask(repository, "log", "-1", "--format=%H %ct", sha, "--", *paths).split()
    if not shipped:
        raise SourceError(
            f"{called}: commit {sha[:12]} holds none of {', '.join(paths)}",
            next_step="correct the path in the pipeline file, or commit those files",
        )
    tree = ask(repository, "ls-tree", "--full-tree", sha, "--", *paths)
    return Commit(
        repository=repository,
        origin=public_origin(source.location),
        sha=sha,
        shipped_sha=shipped[0],
        epoch=int(shipped[1]),
        content=hashlib.sha256(tree.encode()).hexdigest(),
        listing=tree,
        tag=_version_tag(repository, shipped[0], sha, answers),
        dirty=_is_dirty(repository, paths, answers),
        shallow=shallow,
    )


def read_file(commit: Commit, path: str, answers: Answers | None = None) -> str:
    """A file as of the shipped commit; empty when it is not there."""
    try:
        return (answers or Answers()).fixed(commit.repository, "show", f"{commit.shipped_sha}:{path}").strip()
    except SourceError:
        return ""


def recipe(name: str, source: Source, commit: Commit) -> Recipe:
    """What decides the exported tree: content, time and version, but not the commit that was asked for."""
    return Recipe(
        stage=STAGE,
        name=name,
        inputs={
            "content": commit.content,
            "epoch": str(commit.epoch),
            "shipped commit": commit.shipped_sha,
            "tag": commit.tag,
            "paths": " ".join(shipped_paths(source)),
        },
        files={"code": digests_of(Path(__file__), Path(str(git_answers.__file__)))},
        origins={"content": commit.listing},
    )


def make_source(store: Store, commit: Commit, source: Source, draft: Draft) -> None:
    """Export what ships into the draft as source.tar, submodules included."""
    tarball = draft.folder / TARBALL
    export(commit, shipped_paths(source), tarball, draft.log)
    for submodule in _submodules(commit.repository, commit.shipped_sha, shipped_paths(source)):
        _append_submodule(store, commit, submodule, draft)
    draft.facts.update(
        {"epoch": commit.epoch, "commit": commit.shipped_sha, "tag": commit.tag, "origin": commit.origin}
    )


def is_remote(location: str) -> bool:
    """Whether `location` is a URL or host:path rather than a folder."""
    return "://" in location or bool(re.match(r"[^/\s]+@?[^/\s]*:", location))


def public_origin(location: str) -> str:
    """`location` without a user name or password; a folder is only "local", since its path says nothing elsewhere."""
    if not is_remote(location):
        return "local"
    url = urlsplit(location)
    return url._replace(netloc=url.hostname or "").geturl() if url.scheme else location.rpartition("@")[2]


def _is_dirty(repository: Path, paths: list[str], answers: Answers) -> bool:
    """Whether what ships differs from its commit; a bare repository, such as a mirror, has nothing that could."""
    if not _has_work_tree(repository):
        return False
    rows = answers.once(repository, *STATUS).split("\0")
    changed = [row[3:].rstrip("/") for row in rows if row]
    return any(not paths or any(_overlap(one, path) for path in paths) for one in changed)


def _has_work_tree(repository: Path) -> bool:
    return (repository / ".git").exists()


def _overlap(one: str, other: str) -> bool:
    """Whether one of two paths is, or lies in, the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _local_repository(settings: Settings, store: Store, source: Source, answers: Answers) -> Path:
    if is_remote(source.location):
        return _mirror(store, source.location, source.ref)
    return _checkout((settings.root_folder / source.location).resolve(), answers)


def _checkout(folder: Path, answers: Answers) -> Path:
    """The top of the work tree that `folder` lies in, or `folder` itself when it is a bare repository."""
    top = _about(folder, answers).top if folder.is_dir() else ""
    if not top and not (folder / "HEAD").exists():
        raise SourceError(
            f"{folder} is no git repository",
            cause="the pipeline builds commits, never loose files",
            next_step=f"correct `location` in the pipeline file, or: git init {folder}",
        )
    return Path(top) if top else folder


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """Of a repository: the top of its work tree (empty: it has none), and the commit of HEAD (empty: ask for it)."""

    top: str
    shallow: bool
    head: str = ""


def _about(folder: Path, answers: Answers) -> _About:
    """All in one call, since each costs a process; one by one where that fails: bare, or no commit yet."""
    found = answers.perhaps(folder, *ABOUT, "HEAD^{commit}")
    if found:
        top, shallow, head = found.rsplit("\n", 2)
        return _About(top=top, shallow=shallow == "true", head=head)
    top = answers.perhaps(folder, "rev-parse", "--show-toplevel") or ""
    return _About(top=top, shallow=answers.perhaps(folder, "rev-parse", "--is-shallow-repository") == "true")


def _mirror(store: Store, url: str, ref: str) -> Path:
    """A bare copy of a remote repository, kept between runs; fetched unless `ref` is a commit that is already here."""
    if url.startswith("-"):
        raise SourceError(f"{url!r} is no repository", next_step="correct `location` in the pipeline file")
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    folder = store.scratch("git") / f"{name}.git"
    with store.locked(f"git-{name}"):
        if not (folder / "HEAD").exists():
            command.run(Command(argv=["git", "init", "--quiet", "--bare", str(folder)], error=SourceError))
        if FULL_SHA.fullmatch(ref) and Answers().perhaps(folder, "cat-file", "-t", ref) == "commit":
            return folder
        fetch = ("fetch", "--quiet", "--prune", "--force", "--", url, "+refs/*:refs/*", "+HEAD:refs/remote-head")
        command.run(
            Command(
                argv=git_command(folder, *fetch),
                env=GIT_ENVIRONMENT,
                timeout_s=FETCH_TIMEOUT_S,
                error=NetworkError,
                what=f"cannot fetch {public_origin(url)}",
                next_step="check the address and the network; a full commit hash as `ref` needs it only once",
            )
        )
    return folder


def _resolve_ref(repository: Path, source: Source, answers: Answers) -> str:
    wanted = "refs/remote-head" if is_remote(source.location) and source.ref == "HEAD" else source.ref
    words = ("rev-parse", "--verify", f"{wanted}^{{commit}}")
    head = _about(repository, answers).head if wanted == "HEAD" else ""
    sha = head or (None if wanted.startswith("-") else answers.perhaps(repository, *words))
    if sha:
        return sha
    if not answers.perhaps(repository, "rev-list", "--all", "--max-count=1"):
        raise SourceError(
            f"the repository {public_origin(source.location)} ({repository.name}) has no commit yet",
            next_step="commit something: git add -A && git commit",
        )
    raise SourceError(
        f"no commit, tag or branch {source.ref!r} in {source.location}",
        next_step=f"git -C {repository} branch --all && git -C {repository} tag",
    )


def _version_tag(repository: Path, shipped: str, sha: str, answers: Answers) -> str:
    """The first version tag between the commit that last touched what ships and the one asked for."""
    if not answers.once(repository, "tag", "--list"):
        return ""
    tags = answers.once(repository, "tag", "--contains", shipped, "--merged", sha, "--sort=creatordate").split()
    return next((tag for tag in tags if VERSION_TAG.fullmatch(tag)), "")


class Submodule(msgspec.Struct, frozen=True, kw_only=True):
    """Another repository that a commit names, with where it goes and which of its commits."""

    path: str
    url: str
    sha: str


def _submodules(repository: Path, sha: str, paths: list[str]) -> list[Submodule]:
    """The submodules below `paths` at `sha`, each with its address from .gitmodules."""
    lines = Answers().ask(repository, "ls-tree", "-r", "-z", "--full-tree", sha, "--", *paths).split("\0")
    links = [(line.split("\t", 1)[1], line.split()[2]) for line in lines if line.startswith("160000 ")]
    return [Submodule(path=path, url=_submodule_url(repository, sha, path), sha=link) for path, link in links]


def _submodule_url(repository: Path, sha: str, path: str) -> str:
    listing = Answers().perhaps(
        repository, "config", "-z", "--blob", f"{sha}:.gitmodules", "--get-regexp", r"^submodule\..*\.(path|url)$"
    )
    # Names may hold blanks, and a key may lack its value.
    entries = {key: value for key, _, value in (entry.partition("\n") for entry in (listing or "").split("\0"))}
    section = next(
        (key.removesuffix(".path") for key, value in entries.items() if key.endswith(".path") and value == path), ""
    )
    url = entries.get(f"{section}.url", "")
    if not url:
        raise SourceError(f"submodule {path} has no address in .gitmodules", next_step="git submodule add URL PATH")
    if url.startswith(("./", "../")):
        origin = Answers().perhaps(repository, "config", "remote.origin.url") or str(repository)
        return f"{origin.rstrip('/')}/{url}" if is_remote(origin) else str((Path(origin) / url).resolve())
    return url


def _append_submodule(store: Store, commit: Commit, submodule: Submodule, draft: Draft) -> None:
    """Append the submodule's files (and its own submodules', recursively) to source.tar under its path."""
    repository = _mirror(store, submodule.url, submodule.sha)
    part = draft.folder / "part.tar"
    _archive(repository, draft.log, f"--prefix={submodule.path}/", f"--output={part}", submodule.sha)
    tar = ["tar", "--concatenate", f"--file={draft.folder / TARBALL}", str(part)]
    command.run(Command(argv=tar, error=SourceError, log=draft.log))
    part.unlink()
    for inner in _submodules(repository, submodule.sha, []):
        nested = Submodule(path=f"{submodule.path}/{inner.path}", url=inner.url, sha=inner.sha)
        _append_submodule(store, commit, nested, draft)
