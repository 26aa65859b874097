"""A file of runs that is damaged, full, read-only, foreign or of another time: each is said, and what stands is kept."""

# ruff: noqa: ASYNC240  # what a test reads of a file is small

from __future__ import annotations

import asyncio
import errno
import fcntl
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from agentloop.errors import JournalDamaged, JournalError, JournalMismatch
from agentloop.journal import note
from agentloop.journal.sqlite import SQLiteStore
from tests.journal.processes import said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    await store.aclose()


async def written(store: SQLiteStore, run_id: str, *, steps: int = 5) -> None:
    async with store.open(run_id, {}) as journal:
        for number in range(steps):
            await journal.step(f"{number}/reply", note, f'"value {number} {"x" * 2000}"')


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


async def refusal(path: Path) -> JournalError:
    """Give what a run is told that is begun there; its step must not be reached."""
    async with aclosing(SQLiteStore(path)) as store:
        with pytest.raises(JournalError) as refused:
            async with store.open("a", {}):
                pytest.fail("the run began")
    return refused.value


@pytest.mark.fault(191)
async def test_the_file_and_all_beside_it_are_for_their_owner_alone(path: Path, store: SQLiteStore):
    await written(store, "a")

    rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert rights == dict.fromkeys(("runs.db", "runs.db-wal", "runs.db-shm", "runs.db-locks"), 0o600)


async def test_the_rights_of_a_file_that_is_there_are_left_as_they_are(path: Path, store: SQLiteStore):
    path.touch()
    path.chmod(0o640)

    await written(store, "a")

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(Path(f"{path}-wal").stat().st_mode) == 0o640


@pytest.mark.fault(137)
async def test_a_file_of_another_version_is_refused(path: Path, store: SQLiteStore):
    await written(store, "a")
    await store.aclose()
    changed(path, "PRAGMA user_version = 7")

    error = await refusal(path)

    assert isinstance(error, JournalMismatch)
    assert f"{path} holds runs in format 7, and this program reads 1;" in str(error)


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path):
    changed(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()

    error = await refusal(path)

    assert isinstance(error, JournalMismatch)
    assert f"{path} is a database of another program" in str(error)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path):
    path.write_text("Dear diary, " * 1000)

    error = await refusal(path)

    assert isinstance(error, JournalMismatch)
    assert f"{path} is no database" in str(error)
    assert path.read_text() == "Dear diary, " * 1000


async def test_a_missing_folder_is_named(tmp_path: Path):
    error = await refusal(tmp_path / "missing" / "runs.db")

    assert str(error).startswith(f"{tmp_path / 'missing' / 'runs.db'} cannot be made (No such file or directory); make its folder")


@pytest.mark.fault(140)
async def test_a_place_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)

    error = await refusal(path)

    assert str(error) == f"{path}-locks: no locks here ([Errno {errno.ENOLCK}] No locks available); keep runs on a local disk"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Give a folder that every user can enter, which tmp_path is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.fault(135)
@pytest.mark.parametrize(("rights", "fact"), [(0o444, "attempt to write a readonly database"), (0o000, "unable to open database file")])
async def test_a_file_that_may_not_be_written_is_refused_before_anything_ran(public_folder: Path, rights: int, fact: str):
    path = public_folder / "runs.db"
    async with aclosing(SQLiteStore(path)) as store:
        await written(store, "a")
    Path(f"{path}-locks").chmod(0o666)
    path.chmod(rights)
    begin = """
if os.getuid() == 0:
    os.setuid(65534)
async def main():
    async with SQLiteStore(path).open("b", {}):
        say("the run began")
try:
    asyncio.run(main())
except JournalError as error:
    say(error)
"""

    error = await said(begin, path)

    assert error == f"{path} cannot be written ({fact}); it, and its folder, must be writable"


@pytest.mark.fault(134)
async def test_a_full_disk_stops_the_step_and_the_store_goes_on_when_there_is_room(path: Path):
    fill = """
import resource
async def main():
    store = SQLiteStore(path)
    async with store.open("a", {}) as journal:
        await journal.step("0/reply", note, "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            for number in range(1, 1000):
                await journal.step(f"{number}/reply", note, '"' + "x" * 2000 + '"')
        except JournalError as error:
            say(error)
        known = [record.key for record in await store.records("a")]
        say(known == [f"{n}/reply" for n in range(number)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await journal.step(f"{number}/reply", note, "2")
        say((await store.records("a"))[-1].value)
asyncio.run(main())
"""

    error, kept, value = (await said(fill, path)).splitlines()

    assert error.startswith(f"{path} cannot be ")
    assert error.endswith("resume the run")
    assert kept == "True"
    assert value == "2"


@pytest.mark.fault(132)
@pytest.mark.parametrize("garble", [False, True], ids=["cut", "garbled"])
async def test_a_torn_tail_is_dropped_and_all_before_it_kept(path: Path, store: SQLiteStore, tmp_path: Path, *, garble: bool):
    await written(store, "a", steps=5)
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(log[:-100] + b"?" * 100 if garble else log[:-100])

    async with aclosing(SQLiteStore(copy)) as torn:
        kept = [record.key for record in await torn.records("a")]
        async with torn.open("a", {}) as journal:
            again = await journal.step("4/reply", note, '"again"')

    assert kept == [f"{number}/reply" for number in range(4)]
    assert again == '"again"'


@pytest.mark.fault(136)
async def test_a_value_that_was_changed_is_named(path: Path, store: SQLiteStore):
    await written(store, "a", steps=9)
    await store.aclose()
    whole = path.read_bytes()
    assert whole.count(b"value 5 xxx") == 1
    path.write_bytes(whole.replace(b"value 5 xxx", b"value 5 \xffxx"))

    error = await refusal(path)

    assert isinstance(error, JournalDamaged)
    assert f"{path} is damaged: record 5 (row 6, key '5/reply') of the run 'a' is not what was written; restore" in str(error)


async def test_other_runs_of_a_damaged_file_go_on(path: Path, store: SQLiteStore):
    await written(store, "a")
    await written(store, "b")
    await store.aclose()
    changed(path, "UPDATE records SET value = 'null' WHERE run_id = 'a' AND number = 2")

    async with store.open("b", {}) as journal:
        assert await journal.step("new", note, "1") == "1"
    with pytest.raises(JournalDamaged):
        await store.records("a")


@pytest.mark.parametrize("column", ["key = 'other'", "number = 7", "at = 0.0", "at = NULL", "value = NULL", "checksum = 0"])
async def test_whatever_was_changed_of_a_record_is_found(path: Path, store: SQLiteStore, column: str):
    await written(store, "a")
    await store.aclose()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'records'")
    changed(path, f"UPDATE records SET {column} WHERE number = 2")  # noqa: S608

    assert isinstance(await refusal(path), JournalDamaged)


async def test_a_record_that_was_taken_away_is_missed(path: Path, store: SQLiteStore):
    await written(store, "a")
    await store.aclose()
    changed(path, "DELETE FROM records WHERE number = 2")

    error = await refusal(path)

    assert isinstance(error, JournalDamaged)
    assert "record 3 (row 4, key '3/reply') of the run 'a' should be record 2" in str(error)


async def test_a_page_of_rubbish_is_damage(path: Path, store: SQLiteStore):
    await written(store, "a", steps=50)
    await store.aclose()
    whole = bytearray(path.read_bytes())
    whole[8192 * 2 :] = b"\x55" * (len(whole) - 8192 * 2)
    path.write_bytes(whole)

    error = await refusal(path)

    assert isinstance(error, JournalDamaged)
    assert str(path) in str(error)


async def test_lone_surrogates_are_kept(store: SQLiteStore):
    async with store.open("a", {}) as journal:
        await journal.step("0/0", note, '"\ud800"')

    assert [record.value for record in await store.records("a")] == ['"\ud800"']


async def test_a_record_that_cannot_be_written_does_not_keep_others_from_it(store: SQLiteStore):
    async with store.open("a", {}) as journal:
        good, bad, other = await asyncio.gather(
            journal.step("good", note, "1"), journal.step("\ud800", note, "2"), journal.step("other", note, "3"), return_exceptions=True
        )

    assert (good, other) == ("1", "3")
    assert isinstance(bad, JournalError)
    assert [record.key for record in await store.records("a")] == ["good", "other"]


@pytest.mark.fault(124)
async def test_a_step_cancelled_while_it_is_written_is_written_before_the_run_is_left(path: Path, store: SQLiteStore):
    await written(store, "other")
    done = asyncio.Event()

    async def fn() -> str:
        done.set()
        return "1"

    async def run() -> None:
        async with store.open("a", {}) as journal:
            await journal.step("0/reply", fn)

    with closing(sqlite3.connect(path, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        running = asyncio.create_task(run())
        await asyncio.wait_for(done.wait(), 5)
        for _ in range(3):
            running.cancel()
            await asyncio.sleep(0)
        assert not running.done()
        somebody.execute("ROLLBACK")
    await asyncio.wait((running,), timeout=5)

    assert running.cancelled()
    async with store.open("a", {}) as journal:
        assert await journal.step("0/reply", note, "2") == "1"


def test_one_store_serves_one_loop_after_another(path: Path):
    store = SQLiteStore(path)

    asyncio.run(written(store, "a"))
    asyncio.run(written(store, "b"))

    assert asyncio.run(store.runs()) == ["a", "b"]
    asyncio.run(store.aclose())


def test_one_store_serves_loops_in_several_threads(path: Path):
    store = SQLiteStore(path)
    threads = [threading.Thread(target=lambda name=name: asyncio.run(written(store, name))) for name in "abcd"]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert sorted(asyncio.run(store.runs())) == ["a", "b", "c", "d"]
    asyncio.run(store.aclose())


def test_a_loop_that_was_closed_meanwhile_does_not_hurt_the_next(path: Path):
    store = SQLiteStore(path)
    asyncio.run(written(store, "a"))

    async def tells() -> None:
        telling = asyncio.ensure_future(store.tell("a", key="0/0/word", value="1"))
        await asyncio.sleep(0)
        telling.cancel()

    with closing(sqlite3.connect(path, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        asyncio.run(tells())
        somebody.execute("ROLLBACK")

    assert [record.key for record in asyncio.run(asyncio.wait_for(store.records("a"), 5))][-1] == "0/0/word"
    asyncio.run(store.aclose())


async def test_two_stores_of_one_file_share_a_thread_that_ends_with_the_last(tmp_path: Path):
    path = tmp_path / "shared.db"

    def writers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if path.name in thread.name]

    link = path.with_name("link.db")
    link.symlink_to(path)
    one, other = SQLiteStore(path), SQLiteStore(link)

    await written(one, "a")
    await written(other, "b")
    both = writers()
    await one.aclose()
    left = writers()
    await written(other, "c")
    await other.aclose()

    assert len(both) == len(left) == 1
    assert writers() == []


async def test_a_run_of_200_steps_takes_at_most_twice_its_payload(path: Path, store: SQLiteStore):
    await written(store, "a", steps=200)
    await store.aclose()

    size = sum(file.stat().st_size for file in path.parent.iterdir() if file.name.startswith(path.name))

    assert size <= 2 * 200 * 2000
    assert not Path(f"{path}-wal").exists()
