"""Who may do what with apps, data and jobs: modes as files have them.

    administrator   everything
    owner           what the first three bits give     app  0755   read: see it, and use its contents
    owning group    the next three                     data 0700   write: change an app; cancel or delete a job
    others          the last three                     job  0700   execute: submit jobs of an app

To remove an app or a datum is for its owner and administrators. Others' rights to a job are those of its mode and its
app's; its owner keeps his own, or the owner of an app could take other people's results away. What one may not read
does not exist: NotFound, in the same words.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from xwhep.common.errors import NotAllowed, NotFound
from xwhep.common.wire import App, Datum, Job
from xwhep.server.auth import UserPrincipal
from xwhep.server.grid import Grid
from xwhep.server.store.identity_records import Act, Service


class Right(enum.IntEnum):
    CHANGE_MODE = 0  # no bit gives it: its owner's alone, even when he has taken every bit from himself
    EXECUTE = 1
    WRITE = 2
    READ = 4
    REMOVE = 8  # as CHANGE_MODE: of an app or a datum, which others may still need

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


OWNERS_ALONE = frozenset({Right.CHANGE_MODE, Right.REMOVE})


@dataclass(frozen=True, kw_only=True)
class Owned:
    owner: str
    group: str
    mode: int


def allowed(user: UserPrincipal, thing: Owned, right: Right) -> bool:
    """As a file system would say: the first class that fits decides, also when a later one gives more."""
    if user.is_admin:
        return True
    if right in OWNERS_ALONE:
        return thing.owner == user.login
    if thing.owner == user.login:
        bits = thing.mode >> 6
    elif thing.group and thing.group in user.groups:
        bits = thing.mode >> 3
    else:
        bits = thing.mode
    return bool(bits & right)


def may_app(user: UserPrincipal, app: App, right: Right) -> bool:
    return allowed(user, Owned(owner=app.owner, group=app.group, mode=app.mode), right)


def may_datum(user: UserPrincipal, datum: Datum, right: Right) -> bool:
    return allowed(user, Owned(owner=datum.owner, group=datum.group, mode=datum.mode), right)


def may_job(user: UserPrincipal, job: Job, app: App, right: Right) -> bool:
    mode = job.mode & (app.mode | 0o700)
    own = job.owner == user.login
    return allowed(user, Owned(owner=job.owner, group=job.owner_group, mode=mode), right) and (
        own or may_app(user, app, Right.READ)
    )


def _own(user: UserPrincipal, thing: App | Datum | Job, right: Right) -> bool:
    return right in OWNERS_ALONE and thing.owner == user.login


def may_see_worker(user: UserPrincipal, service: Service) -> bool:
    return user.is_admin or service.shows_to(user.login, user.groups)


async def account_for(grid: Grid, user: UserPrincipal, owner: str, act: tuple[str, str]) -> None:
    """Write down (act, subject) in the audit log when an administrator did it to what is another's."""
    if user.is_admin and owner != user.login:
        detail = f"of {owner}"
        await grid.store.identity.note(Act(who=user.login, act=act[0], subject=act[1], detail=detail))


async def find_app(grid: Grid, user: UserPrincipal, name: str, right: Right = Right.READ) -> App:
    """Raises: NotFound: it is not there, or not to be seen; NotAllowed: seen, but not more."""
    app = await grid.store.assets.app(name)
    if app is None or not (may_app(user, app, Right.READ) or _own(user, app, right)):
        raise NotFound(f"there is no app {name}", "list them with: xw app list")
    if not may_app(user, app, right):
        raise NotAllowed(f"you may not {right.words}: the app {name}", f"ask its owner, {app.owner}")
    return app


async def find_datum(grid: Grid, user: UserPrincipal, name_or_id: str, right: Right = Right.READ) -> Datum:
    """The user's datum of that name, or the readable one with that id. Raises: as find_app."""
    datum = await grid.store.assets.datum(user.login, name_or_id)
    if datum is None or not (may_datum(user, datum, Right.READ) or _own(user, datum, right)):
        raise NotFound(f"you have no datum {name_or_id}", "list yours with: xw data list")
    if not may_datum(user, datum, right):
        raise NotAllowed(f"you may not {right.words}: the datum {name_or_id}", f"ask its owner, {datum.owner}")
    return datum


async def find_job(grid: Grid, user: UserPrincipal, job_id: str, right: Right = Right.READ) -> Job:
    """Raises: NotFound: it is not there, or not to be seen; NotAllowed: seen, but not more."""
    job = await grid.store.jobs.job(job_id)
    app = await grid.store.assets.app_of_job(job.id) if job else None
    if job is None or app is None or not (may_job(user, job, app, Right.READ) or _own(user, job, right)):
        raise NotFound(f"you have no job {job_id}", "list yours with: xw job list")
    if not may_job(user, job, app, right):
        raise NotAllowed(f"you may not {right.words}: the job {job_id}", f"ask its owner, {job.owner}")
    return job
