"""What a source is: a commit of a repository, or a published archive. Each has a stage module; this one chooses."""

from __future__ import annotations

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.definitions import Source, StdebSource
from xwhep_packaging.git_answers import Answers
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import source
from xwhep_packaging.store import Draft, Recipe, Store


def commit(settings: Settings, store: Store, name: str, answers: Answers) -> Commit:
    """What source `name` means now.

    Raises:
        SourceError: there is no such thing.
        NetworkError: where it comes from does not answer.
    """
    if not _is_archive(settings.sources[name]):
        return source.resolve(settings, store, name, answers)
    from xwhep_packaging.stages import sdist

    return sdist.resolve(settings, store, name)


def recipe(name: str, definition: Source, found: Commit) -> Recipe:
    """What decides the exported tree."""
    if not _is_archive(definition):
        return source.recipe(name, definition, found)
    from xwhep_packaging.stages import sdist

    return sdist.recipe(name, found)


def make(store: Store, found: Commit, definition: Source, draft: Draft) -> None:
    """Export it into the draft."""
    if not _is_archive(definition):
        source.make_source(store, found, definition, draft)
        return
    from xwhep_packaging.stages import sdist

    sdist.make_source(found, draft)


def _is_archive(definition: Source) -> bool:
    return isinstance(definition, StdebSource) and bool(definition.sdist)
