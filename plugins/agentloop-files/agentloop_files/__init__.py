"""Tools that read the files of one folder, and of no other."""

from __future__ import annotations

from agentloop_files.files import Files

__all__ = ["Files"]
