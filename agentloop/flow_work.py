"""A function or a tool as a step of a flow: its arguments and its result as JSON, what may be done with it, and how."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pydantic
from pydantic_core import PydanticSerializationError, ValidationError, from_json, to_json

from agentloop.approvals import Granted, Ruling, auto, rule
from agentloop.errors import ConfigurationError, StepFailed
from agentloop.journal.typed import Form
from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.annotations import local_names, resolve
from agentloop.tools.context import Context, key_of
from agentloop.tools.function import Tool
from agentloop.tools.gates import gate
from agentloop.tools.options import Effect
from agentloop.tools.parameters import innermost
from agentloop.tools.threads import run_in_thread
from agentloop.transcript import Decision

# How a tool says so itself.
_UNKNOWN = "whether it took effect is unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step does."""

    name: str
    arguments: str
    """As JSON."""
    effect: Effect
    kind: Any
    """The type of what it gives."""
    perform: Callable[[ToolCall, str], Awaitable[Any]]
    """Does it, of a call and the run's id, and gives what JSON can say."""
    ruled: Callable[[ToolCall, Decision | None], Ruling]
    """Says whether it may be done."""
    reconcile: Callable[[ToolCall, str], Awaitable[Any]] | None = None
    """Finds out what became of it, where it was cut off; LookupError where it was not done."""

    def read(self, value: Any) -> Any:
        """Make what the step gives of what was written down."""
        return Form[Any](self.kind).read(to_json(value).decode(), key=self.name)


def work_of(
    fn: Callable[..., Any], *, args: tuple[Any, ...], named: Mapping[str, Any], effect: Effect | None, local: Mapping[str, Any]
) -> Work:
    """Prepare a step.

    Args:
        fn: A function, or a tool.
        args: What it is given.
        named: What it is given by name.
        effect: What doing it again would do.
        local: The names that annotations may use beside those of the function's module.

    Raises:
        ConfigurationError: A tool is given another effect than its own, or arguments that JSON cannot say.
        TypeError: It does not take these arguments.
    """
    if not isinstance(fn, Tool):
        return _function_work(fn, args, named, effect="once" if effect is None else effect, local=local)
    made = cast("Tool[..., Any]", fn)
    if effect is not None:
        raise ConfigurationError(f"the tool {made.name!r} has the effect {made.options.effect!r} already; leave effect={effect!r} out")
    return _tool_work(made, args, named, local=local)


def leaves_doubt(error: BaseException) -> bool:
    """Say whether a step that failed may have taken effect all the same: its tool was given up when its time was up."""
    return isinstance(error, StepFailed) and _UNKNOWN in str(error)


def answer_of(result: ToolResult, kind: Any) -> Any:
    """Read what a person or a tool said as a value of the type.

    Raises:
        ValidationError: It is none.
    """
    text = result.whole or result.text
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
    if kind is str:
        return text
    try:
        return adapter.validate_json(text)
    except ValidationError:
        # Words are said as they are, without the quotes of JSON.
        return adapter.validate_python(text)


def plain(value: Any, *, kind: Any, name: str) -> Any:
    """Say a value in what JSON knows, so that it can be read again.

    Raises:
        ConfigurationError: It cannot be.
    """
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
    try:
        text = adapter.dump_json(value, warnings=False)
        adapter.validate_json(text)
    except (PydanticSerializationError, ValidationError) as error:
        why = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"{name!r}: {type(value).__name__} cannot be written down and read again as {kind} ({why}); annotate it with a type that can"
        ) from error
    return from_json(text)


def _function_work(
    fn: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any], *, effect: Effect, local: Mapping[str, Any]
) -> Work:
    worker = fn if isinstance(fn, type) else innermost(fn)
    name: str = getattr(fn, "__name__", worker.__name__)
    kind = _returned(fn, name=name, local=local)

    async def perform(_: ToolCall, __: str) -> Any:
        value = fn(*args, **named) if inspect.iscoroutinefunction(worker) else await run_in_thread(lambda: fn(*args, **named), name=name)
        return plain(await value if inspect.isawaitable(value) else value, kind=kind, name=name)

    signature = _signature(fn)
    given = signature.bind(*args, **named).arguments if signature else {"args": args, **named}
    arguments = to_json(given, fallback=repr, bytes_mode="base64").decode()
    return Work(name=name, arguments=arguments, effect=effect, kind=kind, perform=perform, ruled=lambda call, _: Granted(call))


def _tool_work(made: Tool[..., Any], args: tuple[Any, ...], named: Mapping[str, Any], *, local: Mapping[str, Any]) -> Work:
    kind = _returned(made.function, name=made.name, local=local)

    async def perform(call: ToolCall, run_id: str) -> Any:
        async with gate(made, call.arguments):
            return _said(await made.call(call, _context(call, run_id)), kind)

    async def reconcile(call: ToolCall, run_id: str) -> Any:
        return _said(await made.reconcile(call, _context(call, run_id)), kind)

    return Work(
        name=made.name,
        arguments=_tool_arguments(made, args, named),
        effect=made.options.effect,
        kind=kind,
        perform=perform,
        ruled=lambda call, decision: rule(call, made, policy=auto, decision=decision),
        reconcile=None if made.options.reconcile is None else reconcile,
    )


def _tool_arguments(made: Tool[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    given = inspect.signature(made.function).bind_partial(*args, **named).arguments
    try:
        return to_json(given, bytes_mode="base64").decode()
    except PydanticSerializationError as error:
        raise ConfigurationError(f"the tool {made.name!r} is given what JSON cannot say ({error}); give a function as the step") from error


def _said(result: ToolResult, kind: Any) -> Any:
    if result.is_error:
        raise StepFailed(f"{result.name!r} failed: {result.text}")
    if not isinstance(result.content, str):
        raise StepFailed(
            f"{result.name!r} gave pictures or files, which are no JSON; give a function that keeps them elsewhere as the step"
        )
    # What a tool without an annotation gives is what a model would read of it.
    if kind is Any:
        return result.whole or result.content
    return plain(answer_of(result, kind), kind=kind, name=result.name)


def _context(call: ToolCall, run_id: str) -> Context[Any]:
    return Context(run_id=run_id, call=call, idempotency_key=key_of(run_id, call))


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except ValueError:
        # Some functions that are written in C say nothing of what they take.
        return None


def _returned(fn: Callable[..., Any], *, name: str, local: Mapping[str, Any]) -> Any:
    """Read the type of what a function returns; Any where it does not say."""
    if isinstance(fn, type):
        return fn
    worker, signature = innermost(fn), _signature(fn)
    if signature is None or signature.return_annotation is inspect.Signature.empty:
        return Any
    names = {**local, **local_names(worker)}
    return resolve(signature.return_annotation, module_names=worker.__globals__, local=names, owner=f"what {name!r} returns")
