"""The contract that a toolset keeps, so that any agent may use it with any model."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from agentloop.messages import ToolCall, ToolDescription, ToolResult
from agentloop.testing.schema_rules import parameters_problems, strict_problems
from agentloop.tools import Toolset
from agentloop.tools.context import Context
from agentloop.tools.dialects import anthropic, gemini, openai_strict, plain
from agentloop.tools.function import Tool
from agentloop.tools.options import Options

AnyTool = Tool[..., Any]
T = TypeVar("T")

# Gemini wants a letter or an underscore first; elsewhere a digit will do.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# Gateways turn these into hosted tools of Gemini.
_TAKEN = frozenset({"googleSearch", "codeExecution", "urlContext"})
_LONGEST_DESCRIPTION = 1_024
_LARGEST_SCHEMA = 50_000
_LONGEST_ERROR = 4_000
_LONGEST_RESULT = 100_200
_PATIENCE = 30.0


def check_toolset(
    toolset: Toolset | Iterable[Toolset],
    *,
    examples: Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]] | None = None,
    deps: Any = None,
) -> None:
    """Prove that the tools can be described to every provider, and answer every call.

    Each tool is called with arguments that cannot be right, so its function is not reached. What `examples` names is really called, twice.

    Args:
        toolset: The toolset, or several; a tool is a toolset of one.
        examples: Arguments with which a tool may be called, by the tool's name; several as a list.
        deps: What the tools find as `context.deps`.

    Raises:
        AssertionError: It lists every problem and what to do about each.
    """
    problems, tools = _listed(toolset)
    for tool in tools:
        place = f"tool {tool.name!r}"
        problems += [f"{place}: {problem}" for problem in _description_problems(tool.description)]
        problems += [f"{place}: {problem}" for problem in _option_problems(tool.options)]
    problems += _call_problems(tools, dict(examples or {}), deps)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise AssertionError(f"the toolset does not keep the contract, {count}:\n" + "\n".join(f"- {problem}" for problem in problems))


def _listed(toolset: Toolset | Iterable[Toolset]) -> tuple[list[str], list[AnyTool]]:
    toolsets = cast("list[Toolset]", [toolset] if hasattr(toolset, "tools") else toolset)
    try:
        listed = [tool for one in toolsets for tool in one.tools()]
        again = [tool for one in toolsets for tool in one.tools()]
    except Exception as error:  # noqa: BLE001 - a stranger's code
        return [f"tools() raised {type(error).__name__}: {error}; make it list the tools"], []
    tools = [tool for tool in listed if isinstance(cast("object", tool), Tool)]
    problems = [f"tools() lists {tool!r}, which is no tool; decorate it with @tool" for tool in listed if tool not in tools]
    if not listed:
        problems.append("there is no tool in it; make tools() list at least one")
    if not problems and [tool.name for tool in tools] != [tool.name for tool in again]:
        problems.append("tools() lists other tools when it is asked again; make it give the same each time")
    twice = [name for name, count in Counter(tool.name for tool in tools).items() if count > 1]
    problems += [f"two tools have the name {name!r}; give one of them another name" for name in twice]
    return problems, tools


def _description_problems(description: ToolDescription) -> Iterator[str]:
    name, words = description.name, description.description
    if not _NAME.fullmatch(name):
        yield "the name does not suit every provider; use at most 64 letters, digits, _ and -, and begin with a letter or _"
    if name in _TAKEN:
        yield "gateways take this name for a tool of their own; choose another"
    if not words.strip():
        yield "it has no description; add a docstring that tells the model when to call it"
    if len(words) > _LONGEST_DESCRIPTION:
        yield f"the description has {len(words):,} characters; OpenAI takes {_LONGEST_DESCRIPTION:,}, so say it shorter"
    if hidden := _hidden(words):
        yield f"the description holds characters that nobody can see ({hidden}); remove them"
    yield from _schema_problems(description)


def _schema_problems(description: ToolDescription) -> Iterator[str]:
    schema = description.parameters
    wrong = [*parameters_problems(schema)]
    yield from (f"{problem}; correct the schema" for problem in wrong)
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError) as error:
        yield f"the schema is no JSON ({error}); build it of dicts, lists, strings, numbers, booleans and None"
        return
    if size > _LARGEST_SCHEMA:
        yield f"the schema has {size:,} characters, which every request carries; bring it under {_LARGEST_SCHEMA:,}"
    if wrong:
        return
    for name, parameter in schema.get("properties", {}).items():
        if not _described(parameter, schema):
            yield f"the parameter {name!r} is not described; say what it is in the docstring or with Annotated[..., '...']"
    yield from _dialect_problems(description)


def _dialect_problems(description: ToolDescription) -> Iterator[str]:
    for dialect, render in (("plain", plain), ("anthropic", anthropic), ("gemini", gemini), ("openai_strict", openai_strict)):
        try:
            rendered = render(description.parameters)
        except Exception as error:  # noqa: BLE001 - a hand-written schema may break anything
            yield f"the schema cannot be said in the dialect {dialect!r} ({type(error).__name__}: {error}); make it simpler"
            continue
        if dialect == "openai_strict" and description.strict and rendered is None:
            yield "it asks for strict=True, which its schema does not allow; leave strict out, or give every object named properties"
        if dialect == "openai_strict" and rendered is not None:
            yield from (f"in OpenAI's strict form: {problem}; make the schema simpler" for problem in strict_problems(rendered))


def _option_problems(options: Options) -> Iterator[str]:
    if options.destructive and options.effect == "read":
        yield "destructive=True contradicts effect='read', which changes nothing; correct one of them"
    if options.timeout is None:
        yield "timeout=None may wait for ever, and every run must end; give seconds"


def _call_problems(tools: Sequence[AnyTool], examples: dict[str, Any], deps: Any) -> list[str]:
    names = [tool.name for tool in tools]
    problems = [f"examples= names {name!r}, which is no tool here; tools: {', '.join(names)}" for name in examples if name not in names]
    bad = [(tool, what, text) for tool in tools for what, text in _bad_arguments(tool.description.parameters)]
    good = [(tool, repr(case), json.dumps(case)) for tool in tools for case in _cases(examples.get(tool.name, []))]

    def found() -> dict[tuple[str, str], list[str]]:
        refused = {(tool.name, what): [*_refusal_problems(_answer(tool, text, deps))] for tool, what, text in bad}
        return refused | {(tool.name, what): [*_result_problems(_answer(tool, text, deps))] for tool, what, text in good}

    first, second = found(), found()
    for (name, what), wrong in first.items():
        problems += [f"tool {name!r}: called with {what}: {problem}" for problem in wrong]
        later = [problem for problem in second[name, what] if problem not in wrong]
        problems += [f"tool {name!r}: called with {what} in a second event loop: {problem}" for problem in later]
    return problems


def _bad_arguments(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give arguments that no tool with this schema can take."""
    yield "text that is no JSON", '{"'
    yield "a list instead of an object", "[]"
    yield "a number instead of an object", "1"
    yield "JSON nested without end", '{"a":' * 100_000
    if schema.get("additionalProperties") is False:
        yield "an argument that it does not have", '{"no_such_argument": 1}'
    if required := schema.get("required"):
        yield "nothing, although it needs arguments", "{}"
        kind = schema.get("properties", {}).get(required[0], {}).get("type")
        if kind in {"string", "integer", "number", "boolean"}:
            yield f"a list for {required[0]!r}", json.dumps({required[0]: [[]]})


def _cases(example: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [example] if isinstance(example, Mapping) else example


def _answer(tool: AnyTool, arguments: str, deps: Any) -> ToolResult | BaseException:
    """Call the tool in an event loop of its own, as `asyncio.run` would from scratch."""
    call = ToolCall("call_0_0", tool.name, arguments)

    async def answer() -> ToolResult | BaseException:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await tool.call(call, Context(deps=deps, run_id="check_toolset", call=call, idempotency_key="check_toolset"))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the very thing that is looked for
            return error

    return _in_a_new_loop(answer)


def _in_a_new_loop(ask: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine even where an event loop runs already."""
    answers: list[T] = []

    async def main() -> None:
        answers.append(await ask())

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="agentloop-check-toolset", daemon=True)
    thread.start()
    thread.join()
    return answers[0]


def _refusal_problems(answer: ToolResult | BaseException) -> Iterator[str]:
    yield from _shape_problems(answer)
    if isinstance(answer, ToolResult):
        if not answer.is_error:
            yield "it answered as if all was well; give a ToolResult with is_error=True"
        if len(answer.text) > _LONGEST_ERROR:
            yield f"the error has {len(answer.text):,} characters; say it in {_LONGEST_ERROR:,}"
        if not answer.text.strip():
            yield "the error has no words; tell the model what was wrong"


def _result_problems(answer: ToolResult | BaseException) -> Iterator[str]:
    yield from _shape_problems(answer)
    if isinstance(answer, ToolResult):
        if answer.is_error:
            yield f"the example failed with {answer.text[:500]!r}; correct the example or the tool"
        if len(answer.text) > _LONGEST_RESULT:
            yield f"the result has {len(answer.text):,} characters; cut it at 100,000, and let the model read on"


def _shape_problems(answer: object) -> Iterator[str]:
    match answer:
        case TimeoutError():
            yield f"it gave no answer in {_PATIENCE:g} s; bound every wait"
        case BaseException():
            yield f"it raised {type(answer).__name__}: {answer}; return a ToolResult with is_error=True"
        case ToolResult():
            if answer.call_id != "call_0_0":
                yield f"the result answers the call {answer.call_id!r}; give it the id of the call that came"
            if "Traceback (most recent call last)" in answer.text:
                yield "the result holds a traceback; give the model the error's type and message only"
        case _:
            yield f"it gave {type(answer).__name__}; return a ToolResult"


def _described(parameter: Any, schema: Mapping[str, Any]) -> bool:
    if not isinstance(parameter, Mapping):
        return False
    words = cast("Mapping[str, Any]", parameter)
    if str(words.get("description", "")).strip():
        return True
    name = str(words.get("$ref", "")).removeprefix("#/$defs/")
    return bool(str(schema.get("$defs", {}).get(name, {}).get("description", "")).strip())


def _hidden(words: str) -> str:
    found = {character for character in words if unicodedata.category(character) in {"Cf", "Cc", "Co", "Cs"} and character not in "\n\t"}
    return ", ".join(sorted(f"U+{ord(character):04X}" for character in found))
