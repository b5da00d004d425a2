"""Every right both ways: who, what, mode -> allowed; the rule itself, the store's queries, and the server over TLS."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from xwhep.common.wire import App, AppSpec, Binary, Datum, DatumSpec, Job, JobSpec, JobState, LeasedDatum
from xwhep.server.auth import UserPrincipal
from xwhep.server.rights import Owned, Right, allowed, may_app, may_datum, may_job
from xwhep.server.store.identity_records import Act, ModeChange, UserUpdate
from xwhep.server.store.records import Account, Inputs, JobFilter, NewJob
from xwhep.server.store.sqlite import SqliteStore

R, W, X = Right.READ, Right.WRITE, Right.EXECUTE
OWN = {Right.CHANGE_MODE, Right.REMOVE}
ANN = UserPrincipal(login="ann", role="user", groups=frozenset({"lab"}))
BOB = UserPrincipal(login="bob", role="user", groups=frozenset({"lab"}))
EVE = UserPrincipal(login="eve", role="user")
ADMIN = UserPrincipal(login="admin", role="admin")
PEOPLE = {"owner": ANN, "member": BOB, "other": EVE, "admin": ADMIN}
ACT = Act(who="admin", act="test", subject="it")

# who, mode of ann's thing owned by the group lab, what that gives
TABLE = [
    ("owner", 0o700, {R, W, X, *OWN}),
    ("owner", 0o400, {R, *OWN}),
    ("owner", 0o200, {W, *OWN}),
    ("owner", 0o100, {X, *OWN}),
    ("owner", 0o077, OWN),
    ("member", 0o070, {R, W, X}),
    ("member", 0o040, {R}),
    ("member", 0o020, {W}),
    ("member", 0o010, {X}),
    ("member", 0o707, set()),
    ("other", 0o007, {R, W, X}),
    ("other", 0o004, {R}),
    ("other", 0o002, {W}),
    ("other", 0o001, {X}),
    ("other", 0o770, set()),
    ("admin", 0o000, {R, W, X, *OWN}),
]


@pytest.mark.parametrize(("who", "mode", "gives"), TABLE)
@pytest.mark.parametrize("right", list(Right))
def test_a_mode_gives_exactly_its_rights(who, mode, gives, right):
    thing = Owned(owner="ann", group="lab", mode=mode)
    assert allowed(PEOPLE[who], thing, right) is (right in gives)


def test_a_thing_without_a_group_has_no_members():
    assert not allowed(BOB, Owned(owner="ann", group="", mode=0o770), R)
    nobody = UserPrincipal(login="bob", role="user", groups=frozenset({""}))
    assert not allowed(nobody, Owned(owner="ann", group="", mode=0o770), R)


def _app(mode: int, owner: str = "eve", group: str = "lab") -> App:
    return App(id="a", name="tool", owner=owner, created_at=0, mode=mode, group=group)


def _job(mode: int) -> Job:
    fields = {"id": "j", "app": "tool", "owner": "ann", "state": JobState.PENDING, "revision": 1, "created_at": 0}
    return Job(**fields, mode=mode, owner_group="lab")


@pytest.mark.parametrize(
    ("who", "job_mode", "app_mode", "gives"),
    [
        ("owner", 0o700, 0o755, {R, W, X}),
        ("owner", 0o700, 0o000, {R, W, X}),  # nobody takes her results away by closing the app
        ("owner", 0o500, 0o777, {R, X}),
        ("member", 0o770, 0o777, {R, W, X}),
        ("member", 0o770, 0o757, {R, X}),  # what the app does not give, the job does not
        ("member", 0o700, 0o777, set()),
        ("member", 0o770, 0o700, set()),
        ("admin", 0o000, 0o000, {R, W, X}),
    ],
)
def test_rights_to_a_job_are_those_of_job_and_app(who, job_mode, app_mode, gives):
    app = _app(app_mode)
    assert {right for right in (R, W, X) if may_job(PEOPLE[who], _job(job_mode), app, right)} == gives


def test_who_may_not_see_the_app_sees_no_job_of_it():
    member_of_the_jobs_group_only = UserPrincipal(login="bob", role="user", groups=frozenset({"lab"}))
    app = _app(0o770, owner="zoe", group="chem")
    assert not may_job(member_of_the_jobs_group_only, _job(0o777), app, R)


MODES = [0o700, 0o070, 0o007, 0o740, 0o704, 0o044, 0o000, 0o777]
HASHES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("binary", "datum", "input")}


def test_the_stores_queries_say_what_the_rule_says(fast_folder, run):
    """Lists and blobs are filtered by SQL; every mode of app and job is compared with the rule, for everyone."""

    async def compare():
        store = SqliteStore(fast_folder / "db", synchronous="OFF")
        await store.open()
        for user in (ANN, BOB, EVE):
            await store.people.add_user(Account(login=user.login, role="user", password_hash=""))
        await store.people.add_user(Account(login="admin", role="admin", password_hash=""))
        await store.identity.add_group("lab", ["ann", "bob"], ACT)
        binary = Binary(os="any", arch="any", sha256=HASHES["binary"], size=6)
        await store.assets.save_app("eve", AppSpec(name="tool", binaries=[binary]))
        datum = await store.assets.add_datum("ann", DatumSpec(name="d", sha256=HASHES["datum"], size=5))
        inputs = Inputs(stdin=LeasedDatum(name="i", sha256=HASHES["input"], size=5))
        app = await store.assets.app("tool")
        new = NewJob(owner="ann", app_id=app.id, spec=JobSpec(app="tool"), inputs=inputs)
        job = await store.jobs.submit(new)
        for first, second in itertools.product(MODES, MODES):
            await store.identity.set_mode(ModeChange(kind="app", id=app.id, mode=first, group="lab"), ACT)
            await store.identity.set_mode(ModeChange(kind="job", id=job.id, mode=second, group="lab"), None)
            await store.identity.set_mode(ModeChange(kind="datum", id=datum.id, mode=second, group="lab"), None)
            for user in PEOPLE.values():
                await _compare(store, user)
        await store.close()

    run(compare)


async def _compare(store: SqliteStore, user: UserPrincipal) -> None:
    app = await store.assets.app("tool")
    (job,) = await store.jobs.jobs(JobFilter())
    (datum,) = await store.assets.data("")
    case = (user.login, oct(app.mode), oct(job.mode))
    assert bool(await store.jobs.jobs(JobFilter(owner=user.sees, owner_groups=user.groups))) is may_job(
        user, job, app, R
    ), case
    assert bool(await store.assets.data(user.sees, user.groups)) is may_datum(user, datum, R), case
    if not user.is_admin:  # possession.py asks nothing for an admin
        for name, expected in (
            ("binary", may_app(user, app, R)),
            ("datum", may_datum(user, datum, R)),
            ("input", may_job(user, job, app, R)),
        ):
            assert await store.assets.user_names_blob(HASHES[name], user.login, user.groups) is expected, (name, case)


def test_datum_models_carry_mode_and_group(fast_folder, run):
    async def compare():
        store = SqliteStore(fast_folder / "db", synchronous="OFF")
        await store.open()
        await store.people.add_user(Account(login="ann", role="admin", password_hash=""))
        made = await store.assets.add_datum("ann", DatumSpec(name="d", sha256=HASHES["datum"], size=5))
        assert (made.mode, made.group) == (0o700, "")
        await store.identity.add_group("lab", [], ACT)
        await store.identity.set_mode(ModeChange(kind="datum", id=made.id, mode=0o640, group="lab"), None)
        (found,) = await store.assets.data("")
        assert isinstance(found, Datum)
        assert (found.mode, found.group) == (0o640, "lab")
        assert (await store.identity.change_user("ann", UserUpdate(groups=("lab",)), None)).groups == ["lab"]
        await store.close()

    run(compare)


# over TLS


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory, live_server_class):
    server = live_server_class(tmp_path_factory.mktemp("modes") / "state")
    server.start()
    server.people = {name: server.user(name) for name in ("ann", "bob", "eve")} | {"admin": server.admin()}
    server.people["admin"].post("/v1/groups", {"name": "lab", "members": ["ann", "bob"]})
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture
def people(shared_live):
    return shared_live.people


@pytest.mark.parametrize(
    ("who", "mode", "read", "write", "run"),
    [
        ("ann", 0o700, 200, 200, 200),
        ("ann", 0o400, 200, 403, 403),
        ("bob", 0o750, 200, 403, 200),
        ("bob", 0o770, 200, 200, 200),
        ("bob", 0o740, 200, 403, 403),
        ("bob", 0o707, 404, 403, 404),
        ("eve", 0o755, 200, 403, 200),
        ("eve", 0o757, 200, 200, 200),
        ("eve", 0o754, 200, 403, 403),
        ("eve", 0o770, 404, 403, 404),
        ("eve", 0o773, 404, 403, 404),  # what one may not read does not exist
        ("admin", 0o000, 200, 200, 200),
    ],
)
def test_apps_over_the_wire(people, who, mode, read, write, run):
    ann, caller = people["ann"], people[who]
    ann.register_app("tool", b"ann's")
    assert ann.post("/v1/apps/tool/mode", {"mode": mode, "group": "lab"}).body.get("mode", 0o755) == mode
    assert caller.get("/v1/apps/tool").status == read
    assert ("tool" in [app["name"] for app in caller.get("/v1/apps").body]) is (read == 200)
    assert caller.register_app("tool", b"other", os="linux", arch="sparc").status == write
    assert caller.post("/v1/jobs", {"app": "tool"}).status == run
    ann.post("/v1/apps/tool/mode", {"mode": 0o755})


@pytest.mark.parametrize(
    ("who", "mode", "read"),
    [
        ("ann", 0o700, 200),
        ("ann", 0o077, 404),
        ("bob", 0o740, 200),
        ("bob", 0o700, 404),
        ("bob", 0o704, 404),
        ("eve", 0o704, 200),
        ("eve", 0o740, 404),
        ("admin", 0o000, 200),
    ],
)
def test_data_over_the_wire(people, who, mode, read):
    ann, caller = people["ann"], people[who]
    ann.register_app("open")
    blob = ann.upload(f"table {who} {mode}".encode())  # who ran a job with it once may read it ever after
    datum = ann.post("/v1/data", {"name": f"set-{who}-{mode}", **blob}).body
    assert ann.post(f"/v1/data/{datum['id']}/mode", {"mode": mode, "group": "lab"}).status == 200
    assert caller.get(f"/v1/data/{datum['id']}").status == read
    assert (datum["id"] in [one["id"] for one in caller.get("/v1/data").body]) is (read == 200)
    assert caller.post("/v1/jobs", {"app": "open", "data": [datum["id"]]}).status == read
    if who != "ann":  # she uploaded it: the content is hers
        assert caller.get(f"/v1/blobs/{blob['sha256']}").status == read


@pytest.mark.parametrize(
    ("who", "mode", "read", "write"),
    [
        ("ann", 0o700, 200, 200),
        ("ann", 0o500, 200, 403),
        ("bob", 0o740, 200, 403),
        ("bob", 0o760, 200, 200),
        ("bob", 0o707, 404, 404),
        ("eve", 0o704, 200, 403),
        ("eve", 0o706, 200, 200),
        ("eve", 0o770, 404, 404),
        ("admin", 0o000, 200, 200),
    ],
)
def test_jobs_over_the_wire(people, who, mode, read, write):
    ann, caller = people["ann"], people[who]
    ann.register_app("jobs")
    ann.post("/v1/apps/jobs/mode", {"mode": 0o777})
    job = ann.submit("jobs")
    assert (job.get("mode", 0o700), job.get("owner_group", "")) == (0o700, "")
    assert ann.post(f"/v1/jobs/{job['id']}/mode", {"mode": mode, "group": "lab"}).status == 200
    path = f"/v1/jobs/{job['id']}"
    assert caller.get(path).status == read
    assert (job["id"] in [one["id"] for one in caller.get("/v1/jobs?limit=1000").body]) is (read == 200)
    assert caller.post(f"{path}/cancel").status == write
    people["admin"].post(f"{path}/cancel")
    assert caller.call("DELETE", path).status == (204 if write == 200 else write)


def test_a_closed_app_closes_its_jobs_to_others(people):
    ann, bob, eve = people["ann"], people["bob"], people["eve"]
    ann.register_app("closing")
    job = bob.submit("closing")
    bob.post(f"/v1/jobs/{job['id']}/mode", {"mode": 0o744})
    assert eve.get(f"/v1/jobs/{job['id']}").status == 200
    ann.post("/v1/apps/closing/mode", {"mode": 0o700})
    assert eve.get(f"/v1/jobs/{job['id']}").status == 404
    assert bob.get(f"/v1/jobs/{job['id']}").status == 200


@pytest.mark.parametrize(("who", "status"), [("ann", 200), ("bob", 403), ("eve", 403), ("admin", 200)])
def test_only_its_owner_and_admins_change_a_mode(people, who, status):
    people["ann"].register_app("chmod")
    assert people[who].post("/v1/apps/chmod/mode", {"mode": 0o755}).status == status


def test_an_owner_who_took_every_bit_from_himself_gives_them_back(people):
    ann = people["ann"]
    job = ann.register_app("shut") and ann.submit("shut")
    for path in ("/v1/apps/shut", f"/v1/jobs/{job['id']}"):
        assert ann.post(f"{path}/mode", {"mode": 0}).status == 200
        assert ann.get(path).status == 404
        assert ann.post(f"{path}/mode", {"mode": 0o700}).status == 200
        assert ann.get(path).status == 200


def test_one_gives_things_to_groups_one_is_in_only(people):
    people["eve"].register_app("eves")
    assert people["eve"].post("/v1/apps/eves/mode", {"mode": 0o770, "group": "lab"}).status == 403
    assert people["admin"].post("/v1/apps/eves/mode", {"mode": 0o770, "group": "lab"}).status == 200
    assert people["admin"].post("/v1/apps/eves/mode", {"mode": 0o770, "group": "none"}).status == 404
    assert people["bob"].get("/v1/apps/eves").body["group"] == "lab"
    assert "group" not in people["eve"].post("/v1/apps/eves/mode", {"mode": 0o700, "group": ""}).body


@pytest.mark.parametrize(
    "wrong", [{"mode": 0o1000}, {"mode": -1}, {"mode": "rwx"}, {}, {"mode": 0o700, "group": "../x"}]
)
def test_wrong_modes_are_refused(people, wrong):
    people["ann"].register_app("tool")
    assert people["ann"].post("/v1/apps/tool/mode", wrong).status == 422


def test_a_watcher_who_loses_the_right_is_told_at_once(people, in_background, shared_live):
    ann = people["ann"]
    ann.register_app("watched")
    job = ann.submit("watched")
    ann.post(f"/v1/jobs/{job['id']}/mode", {"mode": 0o704})
    seen = shared_live.api(people["eve"].token).get(f"/v1/jobs/{job['id']}").body["revision"]
    watching = in_background(
        lambda: shared_live.api(people["eve"].token).get(f"/v1/jobs/{job['id']}?seen={seen + 1}&wait=20").status
    )
    ann.post(f"/v1/jobs/{job['id']}/mode", {"mode": 0o700})
    ann.post(f"/v1/jobs/{job['id']}/mode", {"mode": 0o700})
    assert watching() == 404
