"""Scheduling over HTTP: batches, groups, explanations, what workers are told; by the running program."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest

from xwhep.common.wire import MAX_BATCH


@pytest.fixture(scope="module")
def server(live_server_class, tmp_path_factory):
    """One for all: the tests use apps and groups of their own."""
    made = live_server_class(tmp_path_factory.mktemp("batches") / "state")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def app(server, request):
    """A new app that only machines with an asset of its name can run, so that tests get none of each other's jobs."""
    name = request.node.name.replace("[", "-").rstrip("]")[:100]
    assert server.admin().post("/v1/apps", {"name": name, "shared": name}).status == 200
    return name


def test_a_batch_is_submitted_in_one_request_in_its_order(server, app):
    admin = server.admin()
    batch = {"jobs": [{"app": app, "args": [str(number)], "group": app} for number in range(2000)]}
    ids = admin.post("/v1/jobs/bulk", batch).body["ids"]
    listed = admin.get(f"/v1/jobs?group={quote(app)}&limit=3000").body
    assert [job["id"] for job in reversed(listed)] == ids
    assert [job["args"] for job in reversed(listed)] == [[str(number)] for number in range(2000)]
    page = admin.get(f"/v1/jobs?group={quote(app)}&limit=2&before={ids[10]}").body
    assert [job["id"] for job in page] == [ids[9], ids[8]]
    stopped = admin.post("/v1/jobs/cancel", {"group": app}).body["ids"]
    assert stopped == ids
    assert {job["state"] for job in admin.get(f"/v1/jobs?group={quote(app)}&limit=3000").body} == {"cancelled"}


def test_a_batch_with_one_wrong_job_makes_none_and_names_it(server, app):
    admin = server.admin()
    for wrong, status in (({"app": "no such app"}, 422), ({"app": "absent"}, 404), ({"app": app, "stdin": "x"}, 404)):
        reply = admin.post("/v1/jobs/bulk", {"jobs": [{"app": app, "group": app}, wrong]})
        assert reply.status == status
        assert reply.body["message"].startswith("job 1 of the batch: ")
    assert admin.post("/v1/jobs/bulk", {"jobs": []}).status == 422
    assert admin.post("/v1/jobs/bulk", {"jobs": [{"app": app, "replicas": 64}] * 2000}).status == 422
    assert admin.get(f"/v1/jobs?group={quote(app)}").body == []


def test_a_batch_has_bounds_and_only_a_batch_may_be_large(server, app):
    admin = server.admin()
    many = b'{"jobs":[' + b",".join([b'{"app":"a"}'] * (MAX_BATCH + 1)) + b"]}"
    assert len(many) > 1024 * 1024
    reply = admin.call("POST", "/v1/jobs/bulk", many)
    assert (reply.status, reply.body["message"]) == (422, f"a batch has 1 to {MAX_BATCH} jobs")
    assert admin.call("POST", "/v1/jobs", many).status == 422


def test_nobody_cancels_the_jobs_of_others(server, app):
    admin, ann = server.admin(), server.user(f"ann-{len(app)}")
    ids = [admin.submit(app, group=app)["id"] for _ in range(2)]
    assert ann.post("/v1/jobs/cancel", {"group": app}).body["ids"] == []
    mine = ann.submit(app)["id"]
    refused = ann.post("/v1/jobs/cancel", {"ids": [mine, ids[0]]})
    assert (refused.status, refused.code) == (404, "not_found")
    assert ann.get(f"/v1/jobs/{mine}").body["state"] == "pending"
    assert ann.get(f"/v1/jobs/{ids[0]}/explain").status == 404
    assert ann.post("/v1/jobs/cancel", {"ids": [mine]}).body["ids"] == [mine]


@pytest.mark.parametrize("body", [{}, {"group": "a", "session": "b"}, {"ids": []}], ids=["none", "two", "empty"])
def test_a_cancellation_names_one_thing(server, body):
    assert server.admin().post("/v1/jobs/cancel", body).status == 422
    assert server.admin().post("/v1/jobs/delete", body).status == 422


def test_jobs_of_a_group_are_deleted_together_or_not_at_all(server, app):
    admin, ann = server.admin(), server.user(f"ann-{len(app)}-{app[5:9]}")
    ids = admin.post("/v1/jobs/bulk", {"jobs": [{"app": app, "group": app}] * 3}).body["ids"]
    theirs = ann.submit(app, group=app, session=app)["id"]
    ann.post(f"/v1/jobs/{theirs}/cancel")
    admin.post("/v1/jobs/cancel", {"ids": ids[:2]})
    refused = admin.post("/v1/jobs/delete", {"group": app})
    assert (refused.status, refused.body["message"]) == (409, "1 of 4 jobs have not ended")
    assert len(admin.get(f"/v1/jobs?group={quote(app)}").body) == 4
    assert ann.post("/v1/jobs/delete", {"ids": [theirs, ids[0]]}).status == 404
    assert ann.post("/v1/jobs/delete", {"group": app}).body["ids"] == [theirs]
    admin.post(f"/v1/jobs/{ids[2]}/cancel")
    assert admin.post("/v1/jobs/delete", {"ids": ids[:1]}).body["ids"] == ids[:1]
    assert admin.post("/v1/jobs/delete", {"group": app}).body["ids"] == ids[1:]
    assert admin.get(f"/v1/jobs?group={quote(app)}").body == []
    (entry,) = admin.get("/v1/audit?limit=1").body
    assert (entry["act"], entry["subject"], entry["detail"]) == ("job delete", f"group {app}", "2 jobs")


def test_explain_says_which_need_how_many_workers_fail(server, app):
    admin, worker = server.admin(), server.worker("small")
    worker.ask(shared=[app])
    job = admin.submit(app, needs={"cpu_count": 99, "labels": ["gpu"]})
    assert worker.ask(shared=[app]).status == 204
    found = admin.get(f"/v1/jobs/{job['id']}/explain").body
    assert found["text"].startswith("no worker fits; ")
    failing = {failing["need"]: failing for failing in found["failing"]}
    assert failing["cpu_count"] == {"need": "cpu_count", "wanted": "99", "workers": found["workers"]}
    assert failing["labels"]["wanted"] == "gpu"
    lease = worker.ask(shared=[app], cpu_count=99, labels=["gpu"])
    assert lease.body["job_id"] == job["id"]
    assert admin.get(f"/v1/jobs/{job['id']}/explain").body["text"] == "it runs on small"


def test_a_job_goes_to_the_worker_it_names(server, app):
    admin, other, named = server.admin(), server.worker("other"), server.worker(f"the-{app[:40]}")
    job = admin.submit(app, needs={"worker": f"the-{app[:40]}"}, wall_clock_s=7.5)
    assert other.ask(shared=[app]).status == 204
    lease = named.ask(shared=[app]).body
    assert (lease["job_id"], lease["wall_clock_s"]) == (job["id"], 7.5)


def test_a_parked_worker_that_cannot_have_a_replica_passes_its_wake_up_on(server, app, in_background):
    admin, first, second = server.admin(), server.worker("first"), server.worker("second")
    # Either may be first in line; the other must give up before the unattended lease runs out and is there to be had.
    one = in_background(lambda: first.ask(wait_s=3, shared=[app]))
    again = server.api(first.token)
    two = in_background(lambda: again.ask(wait_s=3, shared=[app]))
    time.sleep(0.3)  # so that these two stand in line before the third
    three = in_background(lambda: second.ask(wait_s=20, shared=[app]))
    time.sleep(0.3)
    began = time.monotonic()
    job = admin.submit(app, replicas=2)
    leases = [reply for reply in (one(), two(), three()) if reply.status == 200]
    assert len(leases) == 2
    assert three().status == 200
    assert time.monotonic() - began < 10
    for api, lease in ((first, leases[0]), (second, three())):
        assert api.deliver(lease.body).status == 200
    done = admin.get(f"/v1/jobs/{job['id']}").body
    assert (done["state"], [run["agreed"] for run in done["runs"]]) == ("completed", [True, True])
    assert admin.get(f"/v1/blobs/{done['result']['stdout']['sha256']}").raw == b"out"


def test_a_worker_in_quarantine_is_shown_as_such_and_gets_nothing(server, app):
    admin, worker = server.admin(), server.worker(f"bad-{app[:40]}")
    for _ in range(5):
        admin.submit(app, max_attempts=1)
    for _ in range(5):
        lease = worker.ask(shared=[app]).body
        assert worker.deliver(lease, exit_code=126, reason="worker refused: broken").status == 200
    job = admin.submit(app)
    assert worker.ask(shared=[app]).status == 204
    (shown,) = [found for found in admin.get("/v1/workers").body if found["name"] == f"bad-{app[:40]}"]
    assert shown["failures_in_row"] == 5
    assert shown["quarantined_until"] > time.time()
    assert "in quarantine" in admin.get(f"/v1/jobs/{job['id']}/explain").body["text"]


def test_odd_bodies_are_refused_and_never_a_fault_of_the_server(server, app):
    admin = server.admin()
    odd = [
        {"app": app, "after": ["#0"]},
        {"app": app, "needs": {"ram_bytes": -1}},
        {"app": app, "priority": 10**30},
        {"app": app, "deadline_at": 1e300},
        {"app": app, "group": "\ud800"},
        {"app": app, "replicas": 2, "quorum": 9},
    ]
    for spec in odd:
        reply = admin.call("POST", "/v1/jobs", json.dumps(spec).encode())
        assert 400 <= reply.status < 500, spec
