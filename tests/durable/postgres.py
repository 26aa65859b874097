"""A Postgres of the tests' own: on loopback, in a temporary folder, gone with the process that asked for it.

Run as a script it is the one who looks after the server: it says the URL, and stops it when nobody holds its input open any more.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

MISSING = "there is no Postgres on this machine; apt-get install postgresql"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # What is lost with the machine is lost with the test.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}


def binaries() -> Path | None:
    """Find the folder of the server's programs: Debian's, newest first, or that of the one on the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda found: int(found.parts[-3].split(".")[0]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found and shutil.which("postgres") else None


@contextmanager
def postgres() -> Generator[str]:
    """Give the URL of a server with nothing in it but the database `postgres`."""
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        assert url, "Postgres did not start; what it said stands above"
        yield url
    finally:
        server.stdin.close()
        server.wait(timeout=30)
        server.stdout.close()


def fresh(server: str, name: str) -> str:
    """Make a database, and give its URL."""
    # Only where there is a server is there a driver for it.
    import psycopg  # noqa: PLC0415

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    return server.removesuffix("postgres") + name


def look_after() -> None:
    """Start a server, say where it is, and stop it at the end of the input, which comes with the end of whoever started this."""
    programs = binaries()
    assert programs is not None, MISSING
    folder = Path(tempfile.mkdtemp(prefix="agentloop-postgres-"))
    try:
        who = _somebody_else(folder)
        data = folder / "data"
        initdb = [programs / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale", "C"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)  # noqa: S603
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        server = subprocess.Popen(  # noqa: S603
            [programs / "postgres", "-D", data, "-p", str(port), *settings], cwd=folder, stdin=subprocess.DEVNULL, **who
        )
        try:
            _await(programs / "pg_isready", port, server)
            sys.stdout.write(f"postgresql://postgres@127.0.0.1:{port}/postgres\n")
            sys.stdout.flush()
            sys.stdin.read()
        finally:
            # Postgres' word for: at once, without writing anything down.
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _somebody_else(folder: Path) -> dict[str, int | list[int]]:
    """Say who runs the server: Postgres refuses root."""
    if os.getuid() != 0:
        return {}
    user = next(user for user in pwd.getpwall() if user.pw_name in {"postgres", "nobody"} and user.pw_uid != 0)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _await(ready: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; its port is open before that."""
    until = time.monotonic() + 20
    while (
        subprocess.run([ready, "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p", str(port)], check=False).returncode != 0  # noqa: S603
    ):
        assert server.poll() is None, "Postgres ended as it began"
        assert time.monotonic() < until, "Postgres takes too long to start"
        time.sleep(0.05)


if __name__ == "__main__":
    # The end of the input is the only word: a Ctrl-C of the tests is not for the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    look_after()
