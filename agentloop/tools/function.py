"""Tools made of functions."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import CoroutineType, FunctionType, MethodType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

from typing_extensions import Unpack

from agentloop.errors import Drained, InvalidArguments, ToolDefinitionError
from agentloop.messages import Text, ToolCall, ToolDescription, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.deadline import NoResult, within
from agentloop.tools.definition import Definition, Given
from agentloop.tools.isolation import Failed, IsolatedTool
from agentloop.tools.options import Options
from agentloop.tools.repair import told
from agentloop.tools.results import gather, gather_async, to_failure, to_result
from agentloop.tools.threads import run_in_thread

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")
Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Delegated:
    """What a call came to that was given to an agent."""

    result: ToolResult
    seconds: float = 0.0
    replayed: bool = False
    """Whether that was in an earlier life of the run."""


Delegate = Callable[[ToolCall, Context[Any]], Awaitable[Delegated]]
"""Gives a call to an agent, as a run of its own; it takes its place in the journal when it is called."""


class Tool(Generic[P, R]):
    """A function and what a model is told of it, made by `tool`; called, it is the function itself."""

    name: str
    """How the model calls it."""
    function: Callable[P, R]
    """What does the work."""
    options: Options
    """How it may be called."""
    delegate: Delegate | None = None
    """Where the tool is an agent: gives it its work in a run that is written down."""

    def __init__(self, function: Callable[P, R], definition: Definition, *, binds: Literal["instance", "class"] | None = None) -> None:
        functools.update_wrapper(self, function, updated=("__dict__",) if isinstance(function, FunctionType) else ())
        self.name = definition.name
        self.function = function
        self.options = definition.options
        self._definition = definition
        self._binds = binds
        self._in_loop = _runs_in_loop(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self: Tool[Concatenate[Owner, Q], S], instance: Owner, owner: type | None = None, /) -> Tool[Q, S]: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Tool[..., Any]:
        """Bind a method to its instance or class."""
        if self._binds == "class":
            return Tool(MethodType(self.function, owner or type(instance)), self._definition)
        if self._binds == "instance" and instance is not None:
            return Tool(MethodType(self.function, instance), self._definition)
        return self

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    @property
    def description(self) -> ToolDescription:
        """What a model is told of it."""
        return self._definition.description

    def tools(self) -> tuple[Self]:
        """List itself: a tool is a toolset of one.

        Raises:
            ToolDefinitionError: It is a method without an instance, or isolated and not found under its function's name.
        """
        self._check()
        return (self,)

    def arguments(self, text: str) -> dict[str, Any]:
        """Read a model's JSON text as arguments by the parameters' names; they are new in each call.

        Raises:
            InvalidArguments: They are not what the tool takes; the message is for the model.
        """
        return self._definition.arguments(text)[0]

    async def call(self, call: ToolCall, context: Context[Any]) -> ToolResult:
        """Answer the call. Never raises: a failure is a result the model reads."""
        tries = self.options.retries + 1
        while True:
            tries -= 1
            try:
                return await self._answer(call, context)
            except InvalidArguments as error:
                return ToolResult(call.id, str(error), is_error=True, name=self.name)
            except (KeyboardInterrupt, GeneratorExit, Drained):
                raise
            except Failed as failed:
                if not tries:
                    return failed.result
                continue
            except asyncio.CancelledError as error:
                if _being_cancelled():
                    raise
                failure: BaseException = error
            except BaseException as error:  # noqa: BLE001  # the tool is a stranger's code, and may even call sys.exit
                failure = error
            if not tries:
                return to_failure(failure, call_id=call.id, name=self.name)

    async def reconcile(self, call: ToolCall, context: Context[Any]) -> ToolResult:
        """Find out what became of a call that was cut off.

        Raises:
            LookupError: It never took effect, and may be made.
            Exception: Nobody knows.
        """
        found = self.options.reconcile
        if found is None:
            raise NotImplementedError(f"tool {self.name!r} has no reconcile function")
        return await Tool(found, self._definition).perform(call, context, seconds=self.options.timeout, yielded=lambda _: None)

    async def perform(
        self, call: ToolCall, context: Context[Any], *, seconds: float | None, yielded: Callable[[object], None]
    ) -> ToolResult:
        """Do the work of the call in this process, once.

        Args:
            call: What the model wants.
            context: What a tool may know of it.
            seconds: How long it may take.
            yielded: Is told each value that a generator yields, from whichever thread.

        Raises:
            InvalidArguments: The arguments are not what the tool takes.
            NoResult: The time was up.
            BaseException: Whatever the tool raises.
        """
        arguments, repair = self._definition.arguments(call.arguments)
        positional, named = self._definition.parameters.bind(arguments, context)
        function: Callable[..., Any] = self.function
        if self._in_loop:
            value = function(*positional, **named)
        else:
            begin = functools.partial(function, *positional, **named)
            value = await run_in_thread(self._work(begin, call, yielded), seconds=seconds, name=self.name)
        settled = value if isinstance(value, ToolResult) else await within(seconds, self._settled(value, call, yielded), name=self.name)
        return told(settled, repair)

    def _work(self, begin: Callable[[], Any], call: ToolCall, yielded: Callable[[object], None]) -> Callable[[], Any]:
        """Give what a thread does for the call, up to its result or to what must be awaited for it."""

        def work() -> Any:
            value = begin()
            if inspect.isgenerator(value):
                value = gather(value, yielded)
            return value if _is_pending(value) else to_result(value, call_id=call.id, name=self.name)

        return work

    async def _answer(self, call: ToolCall, context: Context[Any]) -> ToolResult:
        self._check()
        seconds = self.options.timeout
        yields: list[Any] = []

        def yielded(value: object) -> None:
            yields.append(value)
            context.progress(value)

        try:
            if self.options.isolated:
                # What the model got wrong needs no process to be told.
                self.arguments(call.arguments)
                return await self._isolated.call(call, context, yielded=yielded)
            return await self.perform(call, context, seconds=seconds, yielded=yielded)
        except NoResult:
            late = TimeoutError(f"{self.name!r} gave no result in {seconds:g} s{self._left_behind()}")
            raise Failed(_with_yields(to_failure(late, call_id=call.id, name=self.name), list(yields))) from None

    def _left_behind(self) -> str:
        """Say what a call that is given up leaves behind."""
        left = ("its process was killed",) if self.options.isolated else ()
        if self.options.effect == "once":
            left = (*left, "whether it took effect is unknown")
        return f"; {', but '.join(left)}" if left else ""

    async def _settled(self, value: Any, call: ToolCall, yielded: Callable[[object], None]) -> ToolResult:
        if isinstance(value, CoroutineType):
            value = cast("Any", await value)
        # Nearly every tool gives a text, of which nothing further need be asked: that would be a tenth of the call.
        if isinstance(value, str):
            return to_result(value, call_id=call.id, name=self.name)
        while inspect.isawaitable(value):
            value = await value
        if inspect.isasyncgen(value):
            value = await gather_async(value, yielded)
        elif inspect.isgenerator(value):
            value = gather(value, yielded)
        return to_result(value, call_id=call.id, name=self.name)

    @property
    def _isolated(self) -> IsolatedTool:
        return IsolatedTool(name=self.name, function=self.function, options=self.options, given=self._definition.given_again)

    def _check(self) -> None:
        if self._binds is not None:
            owner = self.function.__qualname__.rpartition(".")[0].rpartition(".")[2]
            raise ToolDefinitionError(f"tool {self.name!r} is a method and has no instance; take it from one: {owner}(...).{self.name}")
        if self.options.isolated:
            self._isolated.check()


@overload
def tool(function: Callable[P, R], /, **given: Unpack[Given]) -> Tool[P, R]: ...
@overload
def tool(function: classmethod[Any, P, R], /, **given: Unpack[Given]) -> Tool[P, R]: ...
@overload
def tool(**given: Unpack[Given]) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(function: Any = None, /, **given: Unpack[Given]) -> Any:
    """Make a tool of a function, or of anything else that can be called.

    A model is told the function's name, what its docstring says, and its parameters with their types, defaults and
    descriptions. A parameter annotated `Context` is filled in and stays hidden.

    ```python
    @tool
    def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
        "Get the weather in a city."


    @tool(effect="read", timeout=5)
    async def search(query: str) -> list[str]: ...
    ```

    Args:
        function: What does the work; left out, a decorator is returned.
        given: See `Given` and `Options`.

    Raises:
        ToolDefinitionError: The function cannot become a tool.
    """
    if function is not None:
        return _make(function, given)
    return functools.partial(_make, given=given)


def _make(function: Any, given: Given) -> Tool[..., Any]:
    # What `classmethod` makes of a tool from Python 3.13 on.
    if isinstance(function, MethodType) and isinstance(made := cast("Any", function.__func__), Tool):
        function = cast("Any", made.__get__(function.__self__))
    work: Any = getattr(function, "__func__", None)
    match function:
        case Tool():
            made = cast("Tool[..., Any]", function)
            if given:
                raise ToolDefinitionError(f"{made.name!r} is a tool already; give {', '.join(given)} where it is made")
            return made
        case staticmethod():
            return Tool(work, Definition(work, given=given, in_class=False))
        case classmethod():
            return Tool(work, Definition(work, given=given, in_class=True), binds="class")
        case type():
            raise ToolDefinitionError(f"{function.__name__!r} is a class; make tools of its methods, or of an instance that can be called")
        case _ if not callable(function):
            raise ToolDefinitionError(f"{function!r} cannot be called; give a function")
        case _:
            definition = Definition(function, given=given, in_class=_in_class(function))
            method = definition.parameters.method
            if method and definition.options.isolated:
                raise ToolDefinitionError(
                    f"tool {definition.name!r}: isolated=True runs it in a process of its own, where there is no instance; "
                    "make it a static method, a class method or a function"
                )
            return Tool(function, definition, binds="instance" if method else None)


def _in_class(function: Any) -> bool:
    if isinstance(function, MethodType):
        return False
    around = getattr(function, "__qualname__", "").rpartition(".")[0]
    return bool(around) and not around.endswith("<locals>")


def _runs_in_loop(function: Any) -> bool:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return True
    if isinstance(function, functools.partial):
        return _runs_in_loop(function.func)
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _is_pending(value: Any) -> bool:
    return inspect.isawaitable(value) or inspect.isasyncgen(value)


def _with_yields(failure: ToolResult, yields: list[Any]) -> ToolResult:
    """Add to the failure what a generator had yielded until then, as far as it can be said."""
    if not yields:
        return failure
    words = f"{failure.text}. Until then it yielded:\n"
    try:
        said = to_result(yields, call_id=failure.call_id, name=failure.name)
    except Exception:  # noqa: BLE001  # it may run on in its thread, and change what is written down here
        return failure
    content = words + said.content if isinstance(said.content, str) else (Text(words), *said.content)
    return replace(said, content=content, is_error=True)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
