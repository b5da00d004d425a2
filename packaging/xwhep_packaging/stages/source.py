"""Stage source: a commit of any git repository, exported clean.

┌────────────┐   resolve    ┌────────┐   export    ┌────────────┐
│ path or URL│ ───────────> │ Commit │ ──────────> │ source.tar │  what ships, times = the commit's
│ and a ref  │  (mirrored)  └────────┘ (submodules)└────────────┘
└────────────┘
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from xwhep_packaging import command
from xwhep_packaging.artefacts import Commit
from xwhep_packaging.command import Command, Result
from xwhep_packaging.definitions import Source
from xwhep_packaging.errors import NetworkError, SourceError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, Store

STAGE = "source"
TARBALL = "source.tar"
FULL_SHA = re.compile(r"[0-9a-f]{40}")
VERSION_TAG = re.compile(r"v?[0-9]+(\.[0-9]+)*")
FETCH_TIMEOUT_S = 600
# The user's git configuration is kept (credentials, mirrors), but nothing in it may change the bytes of an export.
EXPORT_OPTIONS = ("tar.umask=0022", "core.autocrlf=false", "core.attributesFile=/dev/null", "safe.directory=*")
GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}


def git_command(repository: Path, *words: str) -> list[str]:
    """One git call on `repository`, with every option that could change the output pinned."""
    options = [part for option in EXPORT_OPTIONS for part in ("-c", option)]
    return ["git", *options, "-C", str(repository), *words]


def export_command(commit: Commit, paths: list[str], tarball: Path) -> list[str]:
    """Write `paths` (empty: all) as of the shipped commit to `tarball`; members carry that commit's time."""
    return git_command(
        commit.repository, "archive", "--format=tar", f"--output={tarball}", commit.shipped_sha, "--", *paths
    )


def shipped_paths(source: Source) -> list[str]:
    """The paths, relative to the repository, whose content is the source; empty means all."""
    prefix = Path(source.subfolder)
    return sorted(str(prefix / path) for path in source.ships) or ([source.subfolder] if source.subfolder else [])


def resolve(settings: Settings, store: Store, name: str) -> Commit:
    """Find the commit that source `name` means now.

    Raises:
        SourceError: no repository there, no such ref or path, or a repository without commits.
        NetworkError: a remote repository does not answer.
    """
    source = settings.sources[name]
    return _commit(_local_repository(settings, store, source), source, f"source {name!r}")


def resolve_folder(settings: Settings, folder: str) -> Commit:
    """Find the last commit of a folder of the pipeline file's own repository."""
    source = Source(subfolder=folder)
    repository = _checkout(settings.root_folder.absolute())
    return _commit(repository, source, f"folder {folder!r}")


def _commit(repository: Path, source: Source, called: str) -> Commit:
    sha = _resolve_ref(repository, source)
    paths = shipped_paths(source)
    shipped = _git(repository, "log", "-1", "--format=%H %ct", sha, "--", *paths).stdout.split()
    if not shipped:
        raise SourceError(
            f"{called}: commit {sha[:12]} holds none of {', '.join(paths)}",
            next_step="correct the path in the pipeline file, or commit those files",
        )
    tree = _git(repository, "ls-tree", "--full-tree", sha, "--", *paths).stdout
    return Commit(
        repository=repository,
        origin=public_origin(source.location),
        sha=sha,
        shipped_sha=shipped[0],
        epoch=int(shipped[1]),
        content=hashlib.sha256(tree.encode()).hexdigest(),
        tag=_version_tag(repository, shipped[0], sha),
        dirty=_is_dirty(repository, paths),
        shallow=_is_shallow(repository),
    )


def read_file(commit: Commit, path: str) -> str:
    """A file as of the shipped commit; empty when it is not there."""
    return _git_quiet(commit.repository, "show", f"{commit.shipped_sha}:{path}") or ""


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
            "format": "1",
        },
    )


def make_source(store: Store, commit: Commit, source: Source, draft: Draft) -> None:
    """Export what ships into the draft as source.tar, submodules included."""
    tarball = draft.folder / TARBALL
    command.run(Command(argv=export_command(commit, shipped_paths(source), tarball), error=SourceError, log=draft.log))
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


def _git(repository: Path, *words: str) -> Result:
    return command.run(Command(argv=git_command(repository, *words), env=GIT_ENVIRONMENT, error=SourceError))


def _git_quiet(repository: Path, *words: str) -> str | None:
    result = command.run(Command(argv=git_command(repository, *words), env=GIT_ENVIRONMENT), check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def _is_dirty(repository: Path, paths: list[str]) -> bool:
    """Whether what ships differs from its commit; a bare repository, such as a mirror, has nothing that could."""
    has_work_tree = (repository / ".git").exists()
    return has_work_tree and bool(_git(repository, "status", "--porcelain", "--", *paths).stdout)


def _local_repository(settings: Settings, store: Store, source: Source) -> Path:
    if is_remote(source.location):
        return _mirror(store, source.location, source.ref)
    return _checkout((settings.root_folder / source.location).resolve())


@cache  # one answer for all sources of a repository: a process each costs 9 ms
def _is_shallow(repository: Path) -> bool:
    return _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"


@cache
def _checkout(folder: Path) -> Path:
    """The top of the work tree that `folder` lies in, or `folder` itself when it is a bare repository."""
    top = _git_quiet(folder, "rev-parse", "--show-toplevel") if folder.is_dir() else None
    if top is None and not (folder / "HEAD").exists():
        raise SourceError(
            f"{folder} is no git repository",
            cause="the pipeline builds commits, never loose files",
            next_step=f"correct `location` in the pipeline file, or: git init {folder}",
        )
    return Path(top) if top else folder


def _mirror(store: Store, url: str, ref: str) -> Path:
    """A bare copy of a remote repository, kept between runs; fetched unless `ref` is a commit that is already here."""
    if url.startswith("-"):
        raise SourceError(f"{url!r} is no repository", next_step="correct `location` in the pipeline file")
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    folder = store.scratch("git") / f"{name}.git"
    with store.locked(f"git-{name}"):
        if not (folder / "HEAD").exists():
            command.run(Command(argv=["git", "init", "--quiet", "--bare", str(folder)], error=SourceError))
        if FULL_SHA.fullmatch(ref) and _git_quiet(folder, "cat-file", "-t", ref) == "commit":
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


def _resolve_ref(repository: Path, source: Source) -> str:
    wanted = "refs/remote-head" if is_remote(source.location) and source.ref == "HEAD" else source.ref
    sha = None if wanted.startswith("-") else _git_quiet(repository, "rev-parse", "--verify", f"{wanted}^{{commit}}")
    if sha:
        return sha
    if not _git_quiet(repository, "rev-list", "--all", "--max-count=1"):
        raise SourceError(
            f"the repository {public_origin(source.location)} ({repository.name}) has no commit yet",
            next_step="commit something: git add -A && git commit",
        )
    raise SourceError(
        f"no commit, tag or branch {source.ref!r} in {source.location}",
        next_step=f"git -C {repository} branch --all && git -C {repository} tag",
    )


def _version_tag(repository: Path, shipped: str, sha: str) -> str:
    """The first version tag between the commit that last touched what ships and the one asked for."""
    tags = _git(repository, "tag", "--contains", shipped, "--merged", sha, "--sort=creatordate").stdout.split()
    return next((tag for tag in tags if VERSION_TAG.fullmatch(tag)), "")


@dataclass(frozen=True, kw_only=True)
class Submodule:
    path: str
    url: str
    sha: str


def _submodules(repository: Path, sha: str, paths: list[str]) -> list[Submodule]:
    """The submodules below `paths` at `sha`, each with its address from .gitmodules."""
    lines = _git(repository, "ls-tree", "-r", "-z", "--full-tree", sha, "--", *paths).stdout.split("\0")
    links = [(line.split("\t", 1)[1], line.split()[2]) for line in lines if line.startswith("160000 ")]
    return [Submodule(path=path, url=_submodule_url(repository, sha, path), sha=link) for path, link in links]


def _submodule_url(repository: Path, sha: str, path: str) -> str:
    listing = _git_quiet(
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
        origin = _git_quiet(repository, "config", "remote.origin.url") or str(repository)
        return f"{origin.rstrip('/')}/{url}" if is_remote(origin) else str((Path(origin) / url).resolve())
    return url


def _append_submodule(store: Store, commit: Commit, submodule: Submodule, draft: Draft) -> None:
    """Append the submodule's files (and its own submodules', recursively) to source.tar under its path."""
    repository = _mirror(store, submodule.url, submodule.sha)
    part = draft.folder / "part.tar"
    prefix = f"--prefix={submodule.path}/"
    words = ("archive", "--format=tar", prefix, f"--output={part}", submodule.sha)
    command.run(Command(argv=git_command(repository, *words), error=SourceError, log=draft.log))
    tar = ["tar", "--concatenate", f"--file={draft.folder / TARBALL}", str(part)]
    command.run(Command(argv=tar, error=SourceError, log=draft.log))
    part.unlink()
    for inner in _submodules(repository, submodule.sha, []):
        nested = Submodule(path=f"{submodule.path}/{inner.path}", url=inner.url, sha=inner.sha)
        _append_submodule(store, commit, nested, draft)
