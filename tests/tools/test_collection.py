"""The tools of an agent, by name."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import pytest

from agentloop.errors import ToolDefinitionError
from agentloop.tools.collection import collect, describe_unknown
from agentloop.tools.function import Tool, tool


@tool
def search(query: str) -> str:
    """Search."""
    return query


def plain(x: int) -> int:
    """Do it."""
    return x


class Files:
    """Tools that belong together."""

    def tools(self) -> Sequence[Tool[..., Any]]:
        return [self.read_file, self.write_file]

    @tool
    def read_file(self, path: str) -> str:
        """Read."""
        return path

    @tool
    def write_file(self, path: str) -> str:
        """Write."""
        return path

    @classmethod
    @tool
    def version(cls) -> str:
        """Say."""
        return cls.__name__


def test_tools_toolsets_and_functions_are_listed_by_name_in_their_order():
    files = Files()

    found = collect([search, files, plain, Files.version, tool(plain, name="other")])

    assert list(found) == ["search", "read_file", "write_file", "plain", "version", "other"]
    assert found["search"] is search
    assert found["plain"](3) == 3
    assert found["read_file"]("a") == "a"


def test_a_class_method_that_holds_a_tool_is_bound():
    # What `Files.version` is from Python 3.13 on.
    version = MethodType(Files.__dict__["version"].__func__, Files)

    assert collect([version])["version"]() == "Files"


@pytest.mark.fault(117)
def test_two_tools_of_one_name_are_refused_and_both_named():
    def read_file() -> None:
        """Read otherwise."""

    with pytest.raises(ToolDefinitionError) as caught:
        collect([Files(), read_file])

    assert str(caught.value) == (
        f"two tools are named 'read_file': {__name__}.Files.read_file and "
        f"{__name__}.test_two_tools_of_one_name_are_refused_and_both_named.<locals>.read_file; rename one with tool(name=...)"
    )


def test_a_function_of_a_function_around_knows_its_names():
    class Local:
        pass

    def take(x: int, y: list[Local] | None = None) -> None: ...

    with pytest.raises(ToolDefinitionError, match=r"list\[.*Local\] \| None, which JSON cannot say"):
        collect([take])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Files, "'Files' is a class; give an instance of it"),
        (Files.read_file, r"tool 'read_file' is a method and has no instance; take it from one: Files\(\.\.\.\)\.read_file"),
        (3, "3 cannot be called; give a function"),
        ("search", "'search' cannot be called; give a function"),
    ],
)
def test_what_is_no_tool_is_refused(wrong: Any, words: str):
    with pytest.raises(ToolDefinitionError, match=words):
        collect([wrong])


@pytest.mark.fault(78, 79)
@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("serch", ["search", "read_file"], "There is no tool 'serch'. Did you mean 'search'? Tools: read_file, search."),
        ("zzz", ["search"], "There is no tool 'zzz'. Tools: search."),
        ("zzz", [], "There is no tool 'zzz'. Tools: none."),
        ("functions.search", ["search"], "There is no tool 'functions.search'. Did you mean 'search'? Tools: search."),
        ("a\nb", ["search"], "There is no tool 'a\\nb'. Tools: search."),
    ],
)
def test_an_unknown_tool_is_answered_with_the_nearest_name_and_the_list(name: str, known: list[str], words: str):
    assert describe_unknown(name, known) == words


def test_hundreds_of_tools_are_not_all_listed():
    known = [f"tool_{n:03}" for n in range(300)]

    words = describe_unknown("tool_2999", known)

    assert "Did you mean 'tool_299'?" in words
    assert words.endswith("tool_049 and 250 more.")
    assert len(words) < 1_000


def test_the_name_that_a_model_made_up_is_cut():
    assert len(describe_unknown("x" * 1_000_000, ["search"])) < 200
