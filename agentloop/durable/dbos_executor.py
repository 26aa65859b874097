"""A worker's sign of life: a lock in Postgres that goes with it, so that another worker takes up its runs."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

from agentloop.durable.dbos_database import WORKFLOW, Database
from agentloop.errors import JournalError

LOST = 75
"""How a process ends that has lost its lock: the code of sysexits.h for what may be tried again."""

_BETWEEN_LOOKS = 0.5
# Both sides find out within seconds that the other's machine is gone, where TCP alone takes hours.
_PATIENCE: Any = {"connect_timeout": 5, "keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5000}
_SERVER_PATIENCE = {
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "statement_timeout": "5000",
}
# From version 14 on: a process that is stopped loses its lock too.
_SILENCE = ("idle_session_timeout", "10000", 140000)


class Executor(threading.Thread):
    """Holds this worker's lock, and takes up the runs of workers whose locks are free.

    It is a thread with a connection of its own, so that work that holds up the event loop does not look like death.
    """

    def __init__(self, database: Database, *, lost: Callable[[], None] | None = None) -> None:
        """Draw an id for this life of the worker.

        Args:
            database: The runs.
            lost: What is done when the lock is lost. By default the process ends at once, since others go on with its runs.
        """
        super().__init__(name="agentloop-executor", daemon=True)
        self.id = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._database = database
        self._lost = lost or _leave
        self._stopping = threading.Event()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def hold(self) -> None:
        """Take the lock and begin to watch the others."""
        url = sqlalchemy.make_url(self._database.url).set(drivername="postgresql")
        self._connection = psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, **_PATIENCE)
        patience = dict(_SERVER_PATIENCE)
        name, value, since = _SILENCE
        if self._connection.info.server_version >= since:
            patience[name] = value
        for setting, at_most in patience.items():
            self._connection.execute("SELECT set_config(%s, %s, false)", (setting, at_most))
        if not self._locked(self.id):
            raise JournalError(f"the executor {self.id!r} is there already; start the worker again")
        self.start()

    def release(self) -> None:
        """Let the lock go: what this worker still has is for others now."""
        self._stopping.set()
        if self.ident is not None:
            self.join(timeout=10)
        if self._connection is not None:
            self._connection.close()

    def run(self) -> None:
        """Look after the lock and the others until `release`."""
        while not self._stopping.wait(_BETWEEN_LOOKS):
            try:
                for executor in self._others():
                    self._take_over(executor)
            except psycopg.Error as error:
                if not self._stopping.is_set():
                    sys.stderr.write(f"agentloop: the worker {self.id} lost its lock, so others go on with its runs: {error}\n")
                    self._lost()
                return

    def _others(self) -> list[str]:
        query = sql.SQL(
            "SELECT DISTINCT executor_id FROM {} WHERE status = 'PENDING' AND name = %s AND application_name = %s AND executor_id <> %s"
        ).format(sql.Identifier(self._database.schema, "workflow_status"))
        return [executor for (executor,) in self._execute(query, (WORKFLOW, self._database.name, self.id))]

    def _take_over(self, executor: str) -> None:
        if not self._locked(executor):
            return
        try:
            self._database.give_back(executor)
        except SQLAlchemyError as error:
            sys.stderr.write(f"agentloop: the runs of the dead worker {executor} cannot be moved yet: {error}\n")
        finally:
            self._execute("SELECT pg_advisory_unlock(%s)", (self._database.lock_key("executor", executor),))

    def _locked(self, executor: str) -> bool:
        return bool(self._execute("SELECT pg_try_advisory_lock(%s)", (self._database.lock_key("executor", executor),))[0][0])

    def _execute(self, query: Any, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        assert self._connection is not None  # noqa: S101  # `hold` comes first
        return self._connection.execute(query, values).fetchall()


def _leave() -> None:
    sys.stderr.flush()
    os._exit(LOST)
