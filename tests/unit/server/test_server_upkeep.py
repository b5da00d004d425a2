"""What is deleted with time, and what never is."""

from __future__ import annotations

import pytest

from server_kit import HASH, Kit, opened_kit, result
from xwhep.common.errors import NotFound
from xwhep.common.wire import DatumSpec, JobState
from xwhep.server.backup_lock import nothing_removed
from xwhep.server.blobs import EMPTY_SHA256, IN_USE_S, BlobFolder
from xwhep.server.catalogue import AppCatalogue, KindCatalogue
from xwhep.server.outputs import OutputBoard
from xwhep.server.settings import Settings
from xwhep.server.store.records import Delivery, Finished, JobFilter
from xwhep.server.upkeep import DAY_S, HOUR_S, Upkeep


class Clock:
    now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(fast_folder, monkeypatch):
    """Blobs on disk under the names of server_kit.HASH; a clock that the test turns."""
    clock = Clock()
    monkeypatch.setattr("xwhep.server.blobs.time.monotonic", clock)
    blobs = BlobFolder(fast_folder, 0)
    blobs.prepare()
    for sha256 in HASH.values():
        path = blobs._place(sha256)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return blobs, clock


def upkeep(k: Kit, blobs: BlobFolder, **settings: object) -> Upkeep:
    return Upkeep(
        settings=Settings(**settings),
        store=k.store,
        blobs=blobs,
        kinds=KindCatalogue(AppCatalogue()),
        outputs=OutputBoard(k.clock),
        clock=k.clock,
    )


def kept(blobs: BlobFolder) -> set[str]:
    return {letter for letter, sha256 in HASH.items() if blobs.size(sha256) is not None}


def test_uploads_that_nothing_names_go_after_their_time(fast_folder, folder, run):
    blobs, _ = folder

    async def scenario():
        async with opened_kit(fast_folder) as k:
            assets = k.store.assets
            for letter in "abcdef":  # a is of the app
                await assets.hold_blob(HASH[letter], "user:ann")
            await assets.add_datum("ann", DatumSpec(name="d", sha256=HASH["d"], size=1))
            await k.submit()
            await k.finish(await k.leased())  # names b and c
            k.clock.now += 24 * HOUR_S - 1
            await upkeep(k, blobs).tidy()
            assert kept(blobs) == set("abcdef")
            await assets.hold_blob(HASH["f"], "user:bob")
            k.clock.now += 2
            await upkeep(k, blobs).tidy()
            assert kept(blobs) == set("abcdf")
            assert not await assets.holds_blob(HASH["e"], "user:ann")
            assert await assets.holds_blob(HASH["f"], "user:ann")

    run(scenario)


def test_nothing_is_removed_while_a_backup_copies_it(fast_folder, folder, run):
    blobs, _ = folder

    async def scenario():
        async with opened_kit(fast_folder) as k:
            await k.store.assets.hold_blob(HASH["e"], "user:ann")
            k.clock.now += 25 * HOUR_S
            with nothing_removed(fast_folder):
                await upkeep(k, blobs, state=fast_folder).tidy()
                assert "e" in kept(blobs)
            await upkeep(k, blobs, state=fast_folder).tidy()
            assert "e" not in kept(blobs)

    run(scenario)


def test_what_a_request_is_about_to_name_stays(fast_folder, folder, run):
    blobs, clock = folder

    async def scenario():
        async with opened_kit(fast_folder) as k:
            await k.store.assets.hold_blob(HASH["e"], "user:ann")
            k.clock.now += 25 * HOUR_S
            blobs.note_use(HASH["e"])
            await upkeep(k, blobs).tidy()
            assert "e" in kept(blobs)
            assert await k.store.assets.holds_blob(HASH["e"], "user:ann")
            clock.now += IN_USE_S
            await upkeep(k, blobs).tidy()
            assert "e" not in kept(blobs)
            blobs.note_use(HASH["f"])
            assert list(blobs._used) == [HASH["f"]]

    run(scenario)


def test_small_contents_go_with_the_last_job_that_names_them(fast_folder, folder, run):
    blobs, _ = folder
    contents = {HASH["b"]: b"x", HASH["c"]: b"y"}

    async def scenario():
        async with opened_kit(fast_folder) as k:
            ids = [await k.submit(), await k.submit()]
            for letter in "bd":
                delivery = Delivery(attempt=await k.leased(), result=result(stdout=letter))
                (finished,) = await k.store.jobs.finish_many([delivery], contents | {HASH[letter]: b"x"})
                assert finished == Finished(id=delivery.attempt.job_id, attempt=1, state=JobState.COMPLETED)
            await k.store.assets.put_small(HASH["d"], b"x", "user:ann")
            await k.store.assets.add_datum("ann", DatumSpec(name="d", sha256=HASH["d"], size=1))
            await k.store.jobs.delete(ids[0])
            k.clock.now += 25 * HOUR_S
            await upkeep(k, blobs).tidy()
            here = [letter for letter in "abcd" if await k.store.assets.small(HASH[letter]) is not None]
            assert here == ["c", "d"]  # c is the error output of the other job
            await k.store.jobs.delete(ids[1])
            await upkeep(k, blobs).tidy()
            assert await k.store.assets.small_size(HASH["c"]) is None
            assert await k.store.assets.small_size(HASH["d"]) == 1

    run(scenario)


def test_the_empty_content_is_never_removed(folder):
    blobs, _ = folder
    assert not blobs.remove_unless_in_use(EMPTY_SHA256)
    assert blobs.size(EMPTY_SHA256) == 0


def test_results_are_kept_for_ever_unless_a_policy_says_otherwise(fast_folder, folder, run):
    blobs, _ = folder

    async def scenario():
        async with opened_kit(fast_folder) as k:
            job_id = await k.submit()
            for letter in "bc":
                await k.store.assets.hold_blob(HASH[letter], "worker:w1")
            await k.finish(await k.leased())
            k.clock.now += 400 * DAY_S
            await upkeep(k, blobs).tidy()
            assert [job.id for job in await k.store.jobs.jobs(JobFilter())] == [job_id]
            assert {"b", "c"} <= kept(blobs)
            await upkeep(k, blobs, result_days=401.0).tidy()
            assert await k.store.jobs.job(job_id)
            await upkeep(k, blobs, result_days=399.0).tidy()
            assert await k.store.jobs.job(job_id) is None
            assert not {"b", "c"} & kept(blobs)  # its files go with it
            with pytest.raises(NotFound):
                await k.store.jobs.cancel(job_id)

    run(scenario)
