"""Which calls run, which need a person's word first, and which are refused."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, cast, get_args

from pydantic_core import to_jsonable_python

from agentloop.errors import ConfigurationError, InvalidArguments
from agentloop.messages import Text, ToolCall, ToolResult
from agentloop.tools.external import External
from agentloop.tools.function import Tool
from agentloop.tools.results import to_failure, to_result
from agentloop.transcript import Decision, Question

Word = Literal["allow", "ask", "deny"]
Judge = Callable[[Tool[..., Any], Mapping[str, Any]], Word]
"""A policy as a function of the tool and the validated arguments. It may be asked about a call again when its run is resumed."""
PolicyName = Literal["auto", "ask", "read_only", "deny"]

_WORDS: tuple[Word, ...] = get_args(Word)
"""From the mildest to the strictest."""
_MOST_TOLD = 10_000
UNKNOWN_OUTCOME = "The call was begun and then cut off; whether it took effect is unknown, and it was not made again."
"""What the model is told of a call that is in doubt for good."""
_log = logging.getLogger("agentloop.approvals")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What becomes of a call, by what its tool declares: "allow", "ask" a person or "deny"; of the rules that apply, the strictest holds.

    A tool's own `needs_approval` asks in any case; only a rule for the tool by its name goes before it, and before all others.
    """

    read: Word = "allow"
    """For tools that change nothing."""
    idempotent: Word = "allow"
    """For tools that change nothing more when called again."""
    once: Word = "ask"
    """For tools that may do harm when called again, which is what a tool is that declares nothing."""
    destructive: Word = "ask"
    """For tools that may delete or overwrite."""
    open_world: Word = "ask"
    """For tools that reach beyond this machine."""
    tools: Mapping[str, Word] = field(default_factory=dict[str, Word])
    """For tools by their names."""
    attended: bool = True
    """Whether somebody can be asked; where nobody can, what would be asked is denied."""

    def __post_init__(self) -> None:
        rules = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in {"tools", "attended"}}
        for name, word in {**rules, **self.tools}.items():
            if word not in _WORDS:
                raise ConfigurationError(f"a policy cannot say {word!r} of {name!r}; choose 'allow', 'ask' or 'deny'")
        # What the caller does with the mapping later is no rule.
        object.__setattr__(self, "tools", dict(self.tools))

    def word(self, tool: Tool[..., Any]) -> Word:
        """Say what becomes of the tool's calls, before its own `needs_approval` is asked."""
        if tool.name in self.tools:
            return self.tools[tool.name]
        word: Word = getattr(self, tool.options.effect)
        if tool.options.destructive:
            word = _strictest(word, self.destructive)
        if tool.options.open_world:
            word = _strictest(word, self.open_world)
        return word


auto = Policy(once="allow", destructive="allow", open_world="allow")
"""Asks where a tool's `needs_approval` says so, and nowhere else."""
ask = Policy(idempotent="ask", open_world="allow")
"""Asks about every tool that does not declare `effect="read"`."""
read_only = Policy(idempotent="deny", once="deny", destructive="deny", open_world="allow")
"""Denies every tool that does not declare `effect="read"`."""
deny = replace(auto, attended=False)
"""Denies what `auto` would ask about: for runs that nobody watches."""

_POLICIES: dict[str, Policy] = {"auto": auto, "ask": ask, "read_only": read_only, "deny": deny}


def policy_of(given: PolicyName | Policy | Judge | None) -> Policy | Judge:
    """Find the policy that an agent was given; `auto` if it was given none.

    Raises:
        ConfigurationError: It is none.
    """
    match given:
        case None:
            return auto
        case str():
            if given not in _POLICIES:
                raise ConfigurationError(f"there is no policy {given!r}; choose one of: {', '.join(_POLICIES)}, or give a Policy(...)")
            return _POLICIES[given]
        case Policy():
            return given
        case _ if inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(getattr(given, "__call__", None)):  # noqa: B004
            raise ConfigurationError("the policy is a coroutine function, which nobody would await; give a plain one")
        case _ if not callable(given):
            raise ConfigurationError(f"{given!r} is no policy; give one of: {', '.join(_POLICIES)}, a Policy(...) or a function")
        case _:
            return given


@dataclass(frozen=True, slots=True)
class Bounded:
    """The policy of an agent in an agent: its own, and no milder than that of the run that calls it."""

    own: Rules
    above: Rules


Rules = Policy | Judge | Bounded


@dataclass(frozen=True, slots=True)
class Granted:
    """The call runs."""

    call: ToolCall
    """As it is to be made: with the arguments that a person wrote, where one did."""
    edited: bool = False

    def told(self, result: ToolResult) -> ToolResult:
        """Tell the model beside the result that a person changed the arguments, where one did."""
        if not self.edited:
            return result
        said = self.call.arguments
        shown = said if len(said) <= _MOST_TOLD else f"{said[:_MOST_TOLD]} [cut here: {len(said) - _MOST_TOLD:,} more characters]"
        words = f"A person changed the arguments of this call to {shown} and it was made with them. Its result:\n"
        content = result.content
        return replace(result, content=words + content if isinstance(content, str) else (Text(words), *content))


@dataclass(frozen=True, slots=True)
class Settled:
    """The call does not run: it was denied, its arguments do not fit, or its result came from outside."""

    result: ToolResult


Ruling = Granted | Settled | Question


def rule(call: ToolCall, tool: Tool[..., Any] | None, *, policy: Rules, decision: Decision | None) -> Ruling:
    """Say what becomes of a call. Never raises: where something fails, the call does not run.

    Args:
        call: What the model wants.
        tool: The tool of that name, if there is one.
        policy: The host's.
        decision: What was said about the call, if anything.
    """
    match decision:
        case Decision("denied", reason):
            return _refused(call, f"The user denied this call{f': {reason}' if reason else '.'}")
        case Decision("answered", result=ToolResult() as given):
            return Settled(_answered(call, given))
        case _:
            pass
    if tool is None:
        return Granted(call)
    try:
        return _ruled(call, tool, policy=policy, decision=decision)
    except InvalidArguments as error:
        # Nobody is asked about a call that cannot be made.
        return _refused(call, str(error))
    except Exception as error:  # noqa: BLE001  # what checks the arguments is the developer's own code
        return Settled(to_failure(error, call_id=call.id, name=call.name))


def rule_doubt(granted: Granted, tool: Tool[..., Any] | None, *, times: int, decision: Decision | None) -> Ruling:
    """Say what becomes of a call that was begun in an earlier life of its run, and whose result was lost with it.

    Approved, it is made again; answered, that is its result; denied, the model is told that nobody knows.

    Args:
        granted: As the call was made.
        tool: The tool of that name, if it is still there.
        times: How often that has happened to it; a word on one time holds for no other.
        decision: What was said on the question, if anything.
    """
    call = granted.call
    question = Question("outcome", _doubt_fingerprint(call, tool, times))
    match decision:
        case None:
            return question
        case Decision("denied", reason):
            return _refused(call, f"{UNKNOWN_OUTCOME} {reason}".strip())
        case Decision("answered", result=ToolResult() as given):
            return Settled(_answered(call, given))
        case Decision(fingerprint=of) if tool is None or of != question.fingerprint:
            return replace(question, problem="The call or its tool is not the one that was asked about.")
        case Decision(arguments=str() as arguments) if tool is not None:
            made = replace(call, arguments=arguments)
            try:
                tool.arguments(made.arguments)
            except InvalidArguments as error:
                return replace(question, problem=str(error))
            return Granted(made, edited=True)
        case _:
            return granted


def _doubt_fingerprint(call: ToolCall, tool: Tool[..., Any] | None, times: int) -> str:
    try:
        asked = fingerprint(tool, call.arguments) if tool else ""
    except Exception:  # noqa: BLE001  # what checks the arguments is the developer's own code
        asked = ""
    return hashlib.sha256(f"outcome {times} {asked}".encode()).hexdigest()


def fingerprint(tool: Tool[..., Any], arguments: str) -> str:
    """Make a hash of what a person is asked: the tool's definition, and the arguments as written and as validated.

    Raises:
        InvalidArguments: They are not what the tool takes.
    """
    about, options = tool.description, tool.options
    asked = [
        [about.name, about.description, about.parameters, about.strict],
        [options.effect, options.destructive, options.open_world, isinstance(tool, External)],
        [arguments, _validated(tool, arguments)],
    ]
    return hashlib.sha256(_canonical(asked).encode("utf-8", "surrogatepass")).hexdigest()


def _ruled(call: ToolCall, tool: Tool[..., Any], *, policy: Rules, decision: Decision | None) -> Ruling:
    if isinstance(tool, External):
        word = _word(policy, tool, call.arguments)
        return _forbidden(call) if word == "deny" else Question("result", fingerprint(tool, call.arguments))
    if decision is not None:
        return _approved(call, tool, policy=policy, decision=decision)
    match _word(policy, tool, call.arguments):
        case "allow":
            return Granted(call)
        case "ask":
            return Question("approval", fingerprint(tool, call.arguments))
        case "deny":
            return _forbidden(call)


def _approved(call: ToolCall, tool: Tool[..., Any], *, policy: Rules, decision: Decision) -> Ruling:
    question = Question("approval", fingerprint(tool, call.arguments))
    if decision.word != "approved" or decision.fingerprint != question.fingerprint:
        return replace(question, problem="The tool or the arguments are not those that were approved.")
    made = call if decision.arguments is None else replace(call, arguments=decision.arguments)
    try:
        tool.arguments(made.arguments)
    except InvalidArguments as error:
        return replace(question, problem=str(error))
    # A person may say yes where the policy asks, and not where it forbids.
    return _forbidden(call) if _word(policy, tool, made.arguments) == "deny" else Granted(made, decision.arguments is not None)


def _word(policy: Rules, tool: Tool[..., Any], arguments: str) -> Word:
    if isinstance(policy, Bounded):
        return _strictest(_word(policy.own, tool, arguments), _word(policy.above, tool, arguments))
    if not isinstance(policy, Policy):
        return _strictest(_judged(policy, tool, tool.arguments(arguments)), _wanted(tool, arguments))
    word = policy.word(tool)
    if tool.name not in policy.tools and word != "deny":
        word = _strictest(word, _wanted(tool, arguments))
    return "deny" if word == "ask" and not policy.attended else word


def _judged(judge: Judge, tool: Tool[..., Any], arguments: Mapping[str, Any]) -> Word:
    try:
        word = cast("object", judge(tool, arguments))
    except Exception:  # noqa: BLE001  # the developer's own function
        _log.exception("the policy failed on a call of %r, which is denied", tool.name)
        return "deny"
    if isinstance(word, str) and word in _WORDS:
        return word
    _log.error("the policy said %r of a call of %r, which is denied; let it say 'allow', 'ask' or 'deny'", word, tool.name)
    return "deny"


def _wanted(tool: Tool[..., Any], arguments: str) -> Word:
    """Read the tool's `needs_approval`."""
    needs = tool.options.needs_approval
    if callable(needs):
        values = tool.arguments(arguments)
        try:
            needs = needs(values)
        except Exception:  # noqa: BLE001  # the developer's own function; where it fails, a person decides
            _log.exception("needs_approval of %r failed, so a person is asked", tool.name)
            return "ask"
    # A function that forgot its return gives None, and that is no no.
    return "allow" if needs is False else "ask"


def _strictest(*words: Word) -> Word:
    return max(words, key=_WORDS.index)


def _forbidden(call: ToolCall) -> Settled:
    return _refused(call, f"The policy does not allow this call of {call.name!r}; it was not made.")


def _refused(call: ToolCall, words: str) -> Settled:
    return Settled(ToolResult(call.id, words, is_error=True, name=call.name))


def _answered(call: ToolCall, given: ToolResult) -> ToolResult:
    content = given.content
    result = to_result(content if isinstance(content, str) else list(content), call_id=call.id, name=call.name)
    return replace(result, is_error=given.is_error)


def _validated(tool: Tool[..., Any], arguments: str) -> str | None:
    """Write the validated arguments as JSON; None where they come out differently each time, as a default of now() does."""
    values, again = tool.arguments(arguments), tool.arguments(arguments)
    try:
        first, second = _canonical(values), _canonical(again)
    except Exception:  # noqa: BLE001  # the values may be of any class
        return None
    return first if first == second else None


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Take a value apart into what JSON knows, in the same order in every process."""
    kind = cast("type[Any]", type(value))
    match value:
        case None | str() | int() | float():
            return value
        case Mapping():
            entries = cast("Mapping[Any, Any]", value).items()
            return {_canonical(key): _plain(inner) for key, inner in entries}
        case list() | tuple():
            return [_plain(inner) for inner in cast("list[Any]", value)]
        case set() | frozenset():
            return sorted((_plain(inner) for inner in cast("set[Any]", value)), key=_canonical)
        case _ if is_dataclass(value):
            return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        case _ if hasattr(kind, "model_fields"):
            # A pydantic model gives its fields as pairs.
            return _plain(dict(value))
        case _:
            return to_jsonable_python(value, bytes_mode="base64", fallback=repr)
