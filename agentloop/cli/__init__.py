"""The command line: `agentloop demo`, `agentloop run`, and lists of tools and plugins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

_EXTRA = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; without the extra `cli`, say how to install it."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"agentloop: the command line needs {' and '.join(missing)}; pip install 'agentloop-core[cli]'\n")
        sys.exit(2)
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        # A letter that the encoding does not have is no reason to lose the rest.
        reconfigure(errors="backslashreplace")
    try:
        from agentloop.cli.app import app  # noqa: PLC0415 - click is an extra
    except KeyboardInterrupt:
        sys.exit(130)
    app.main(arguments, prog_name="agentloop")
