"""The runs of a database, as DBOS keeps them: what is asked of the engine, and of Postgres beside it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Literal, TypeVar

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions, PortableWorkflowError, WorkflowStatus
from dbos import error as said

from agentloop.errors import JournalError
from agentloop.journal.store import Record

T = TypeVar("T")

State = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
"""What a run is at: `waiting` is for a word, from a person or whoever else tells it."""

PART = " > "
"""What stands in a name between a run that another one spawned and a key of it: `0/1 > 2/reply`."""

WORKFLOW = "agentloop.run"
"""The name of the one DBOS workflow: it does the work whose name it is given."""

_OVER: Mapping[str, State] = {
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
_SPAWNED = "spawned:"
_WORD = "word:"
# A place in a run is how many steps and how many words came up to it: the steps in the high bits, the words in the low ones.
_WORD_BITS = 20
_PAST_EVERY_STEP = 2**31 - 1
HUNG = 5
"""Seconds after which Postgres ends a transaction that says nothing, so that a stopped process holds no rows that its heirs need."""
_in_this_process = threading.RLock()


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as it stands in the database."""

    run_id: str
    state: State
    executor: str | None
    outcome: str
    """What it came to, or why it failed."""
    words: Mapping[str, str]
    """What it was told, by keys."""
    spawned: frozenset[str]
    """The runs that it spawned, by the keys under which it did."""


class Database:
    """The runs of one name in a database. All but `threaded` blocks, and may be called from any thread."""

    def __init__(self, url: str, *, name: str, schema: str, migrate: bool) -> None:
        self.url = url
        self.name = name
        self.schema = schema
        self._migrate = migrate
        self._opening = threading.Lock()
        self._client: DBOSClient | None = None
        self._engine: sqlalchemy.Engine | None = None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="agentloop-dbos")

    def __repr__(self) -> str:
        return f"{self.name!r} in {sqlalchemy.make_url(self.url)!r}"

    async def threaded(self, fn: Callable[..., T], *args: Any) -> T:
        """Do what blocks in a thread of the store's own: the loop's are taken over by DBOS where that runs, and gone after it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(fn, *args))

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file for one process, as tests use it, and not a server."""
        return self.url.startswith("sqlite")

    @property
    def waiting_queue(self) -> str:
        """Where runs are that wait for a word: nobody takes any from it, so that they cost nothing and hold up nothing."""
        return f"{self.name}-waiting"

    @property
    def queue(self) -> str:
        """Where runs are that a worker may take."""
        return f"{self.name}-runs"

    def enqueue(self, run_id: str, name: str, *, given: str, version: str | None = None) -> bool:
        """Put a run into its queue; say whether it is new."""
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": self.queue,
            "workflow_id": run_id,
            "workflow_id_reuse_policy": "reject",
        }
        if version is not None:
            options["app_version"] = version
        try:
            self.client.enqueue(options, name, given)
        except said.DBOSWorkflowIDInUseError:
            return False
        return True

    def seen(self, run_id: str, *, outcome: bool = False) -> Seen:
        """Look at a run.

        Raises:
            JournalError: There is no such run.
        """
        found = self.look([run_id], outcome=outcome)
        if found:
            return found[run_id]
        whole, _ = self.found(run_id)
        raise JournalError(f"the run {run_id!r} is a part of {whole!r}, which spawned it; ask for that one")

    def look(self, run_ids: Sequence[str], *, outcome: bool = False) -> dict[str, Seen]:
        """Look at those of the runs that there are."""
        return {row.workflow_id: self._seen(row) for row in self.listed(workflow_ids=list(run_ids), load_output=outcome)}

    def running(self, executor: str) -> list[str]:
        """Name the runs that this executor has taken, and not given back."""
        return [row.workflow_id for row in self.listed(status="PENDING", executor_id=executor)]

    def executors(self) -> set[str]:
        """Name those that have taken runs."""
        return {row.executor_id for row in self.listed(status="PENDING") if row.executor_id is not None}

    def give_back(self, executor: str) -> list[str]:
        """Put all runs that this executor has taken back into their queues, and name them. It must not go on with them any more."""
        with self.alone(self.running(executor)) as run_ids:
            # One may have ended, or been cancelled, before it was ours alone.
            taken = [now.run_id for now in self.look(run_ids).values() if (now.state, now.executor) == ("running", executor)]
            self.client.resume_workflows(taken, queue_name=self.queue)
        return taken

    def suspend(self, run_id: str, *, executor: str, keys: Sequence[str]) -> bool:
        """Put a run aside that can do nothing until it is told one of these keys; False where it has been told by now."""
        with self.alone([run_id]):
            now = self.seen(run_id)
            if (now.state, now.executor) != ("running", executor):
                return True
            if any(key in now.words for key in keys):
                return False
            self.client.resume_workflow(run_id, queue_name=self.waiting_queue)
        return True

    def spawned(self, run_id: str, key: str) -> None:
        """Write down that a run spawned another one under the key."""
        self.client.update_workflow_attributes(run_id, {_SPAWNED + key: True}, merge=True)

    def take_up(self, run_id: str) -> None:
        """Let a run that failed or was cancelled go on; any other is left as it is."""
        with self.alone([run_id]):
            now = self.seen(run_id)
            if now.state == "cancelled":
                self.client.resume_workflow(run_id, queue_name=self.queue)
            if now.state == "failed":
                # The engine's only way to go on after an error; with a step that no run has, it drops none.
                self.client.rewind_workflow(run_id, start_step=_PAST_EVERY_STEP, queue_name=self.queue)

    def steps(self, run_id: str, after: int = 0) -> list[tuple[int, str, str, float]]:
        """Read what a run wrote down behind the step of a number, in its order: number, key, value, and when."""
        rows = self.client.list_workflow_steps(run_id, offset=max(after - 1, 0))
        # The engine passes over rows, not numbers: it was right to where the last one known is found, and numbers may be left out.
        if after and (not rows or rows[0]["function_id"] != after):
            rows = self.client.list_workflow_steps(run_id)
        return [
            (row["function_id"], row["function_name"], str(row["output"]), (row["completed_at_epoch_ms"] or 0) / 1000)
            for row in rows
            if row["function_id"] > after
        ]

    @contextmanager
    def alone(self, run_ids: Sequence[str]) -> Generator[Sequence[str]]:
        """Be the only one, in all processes, that moves these runs."""
        if self.is_sqlite:
            with _in_this_process:
                yield run_ids
            return
        # One order for all, so that no two wait for each other.
        keys = sorted(self.lock_key("run", run_id) for run_id in run_ids)
        with self.engine.begin() as connection:
            for key in keys:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield run_ids

    def lock_key(self, kind: str, name: str) -> int:
        """Number an advisory lock of ours: 64 bits, with a sign, as Postgres has them."""
        text = f"agentloop\0{self.schema}\0{self.name}\0{kind}\0{name}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

    @property
    def client(self) -> DBOSClient:
        """The engine's own client; the tables are there once it is."""
        with self._opening:
            if self._client is None:
                if self._migrate:
                    DBOS.migrate(self.url, schema=self.schema)
                self._client = DBOSClient(
                    system_database_url=self.url,
                    dbos_system_schema=self.schema,
                    serializer=DBOSPortableJSONSerializer(),
                    application_name=self.name,
                    sys_db_idle_transaction_timeout_sec=HUNG,
                )
            return self._client

    @property
    def engine(self) -> sqlalchemy.Engine:
        """Connections of our own, for locks."""
        with self._opening:
            if self._engine is None:
                url = sqlalchemy.make_url(self.url).set(drivername="postgresql+psycopg")
                patience = {"options": f"-c idle_in_transaction_session_timeout={HUNG}s"}
                self._engine = sqlalchemy.create_engine(url, pool_size=4, max_overflow=0, pool_pre_ping=True, connect_args=patience)
            return self._engine

    def tell(self, run_id: str, *, key: str, value: str) -> None:
        """Keep a word for a run, and let it go on where it waits."""
        whole, part = self.found(run_id)
        name = part + key
        with self.alone([whole]):
            now = self.seen(whole)
            if now.words.get(name, value) != value:
                raise JournalError(f"the run {run_id!r} was told something else under {key!r} before; the first word holds")
            if name not in now.words:
                word = {"number": len(now.words) + 1, "value": value, "at": time.time()}
                self.client.update_workflow_attributes(whole, {_WORD + name: word}, merge=True)
            if now.state == "waiting":
                self.client.resume_workflow(whole, queue_name=self.queue)

    def records(self, run_id: str, after: int) -> list[Record]:
        """Read what a run wrote down and was told, from a place on."""
        try:
            whole, part = self.found(run_id)
        except JournalError:
            return []
        known_steps, known_words = after >> _WORD_BITS, after & ((1 << _WORD_BITS) - 1)
        rows = self.listed(workflow_ids=[whole])
        told = [_word(key, word) for row in rows for key, word in (row.attributes or {}).items() if key.startswith(_WORD)]
        words = sorted(word for word in told if word[0] > known_words)
        steps = self.steps(whole, known_steps)
        records: list[Record] = []
        while steps or words:
            step_is_next = bool(steps) and (not words or steps[0][3] <= words[0][3])
            number, name, value, at = (steps if step_is_next else words).pop(0)
            known_steps, known_words = (number, known_words) if step_is_next else (known_steps, number)
            key = name.removeprefix(part)
            if part + key == name and PART not in key:
                records.append(Record((known_steps << _WORD_BITS) + known_words, run_id, key, value, at))
        return records

    def runs(self) -> list[str]:
        """Name all runs, each with those that it spawned."""
        found = [self._seen(row) for row in self.listed()]
        return [name for now in found for name in (now.run_id, *(_run_id(now.run_id, key) for key in sorted(now.spawned)))]

    def found(self, run_id: str) -> tuple[str, str]:
        """Find the run that the engine knows, and what stands before the keys of this one in it: nothing where it is that one.

        Raises:
            JournalError: There is no such run.
        """
        words = run_id.split("/")
        around = ["/".join(words[:count]) for count in range(len(words), 0, -1)]
        now = self.look(around)
        for whole in (each for each in around if each in now):
            if whole == run_id:
                return whole, ""
            for key in now[whole].spawned:
                if _run_id(whole, key) == run_id:
                    return whole, key + PART
        raise self._unknown(run_id)

    def cancel(self, run_id: str) -> None:
        """Stop a run and what it has spawned."""
        self.seen(run_id)
        with self.alone([run_id]):
            self.client.cancel_workflow(run_id)

    def listed(self, **which: Any) -> list[WorkflowStatus]:
        """List what the engine has, by what it can be asked for."""
        which.setdefault("load_output", False)
        return self.client.list_workflows(name=WORKFLOW, application_name=self.name, load_input=False, **which)

    def _seen(self, row: WorkflowStatus) -> Seen:
        waits = row.queue_name == self.waiting_queue
        state = _OVER.get(row.status) or ("running" if row.status == "PENDING" else "waiting" if waits else "queued")
        words = {key.removeprefix(_WORD): word["value"] for key, word in (row.attributes or {}).items() if key.startswith(_WORD)}
        spawned = frozenset(key.removeprefix(_SPAWNED) for key in row.attributes or {} if key.startswith(_SPAWNED))
        return Seen(row.workflow_id, state, row.executor_id, _outcome(row), words, spawned)

    def _unknown(self, run_id: str) -> JournalError:
        newest = self.listed(sort_desc=True, limit=5)
        return JournalError(f"there is no run {run_id!r}; the newest are: {', '.join(row.workflow_id for row in newest) or 'none'}")

    def close(self) -> None:
        """Close the connections."""
        with self._opening:
            if self._client is not None:
                self._client.destroy()
            if self._engine is not None:
                self._engine.dispose()
            self._client = self._engine = None
        self._threads.shutdown(wait=False)


def _run_id(whole: str, key: str) -> str:
    return f"{whole}/{key.replace(PART, '/')}"


def _outcome(row: WorkflowStatus) -> str:
    match row.error:
        case None:
            return row.output or ""
        case PortableWorkflowError(name=name, message=message):
            return f"{name}: {message}"
        case error:
            return str(error)


def _word(key: str, word: Mapping[str, Any]) -> tuple[int, str, str, float]:
    return word["number"], key.removeprefix(_WORD), word["value"], word["at"]
