"""Mends arguments that are not JSON, where they can mean one object only; everything else goes back to the model."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentloop.messages import Text, ToolResult

_log = logging.getLogger("agentloop.tools")

# Repairing blocks the event loop: these keep it to some 50 ms.
_MOST_CHARACTERS = 2**19
_MOST_TOKENS = 10_000
_MOST_FOR_LIBRARY = 4_000

_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Repair:
    """What a model's text means in JSON, and what was wrong with it."""

    text: str
    flaws: tuple[str, ...]

    @property
    def remark(self) -> str:
        """What the model is told beside the result."""
        return f"[The arguments of this call were not valid JSON and were repaired: {'; '.join(self.flaws)}. Write one plain JSON object.]"


def repaired(text: str) -> Repair | None:
    """Write as JSON what can mean one object only, else give None.

    No character of a string is changed, and no value, no key and no opening bracket is made up or left out; so what was cut off
    is never mended. Taken are a Markdown fence or a byte order mark around the object, JSON written as a string, what Python
    writes (`'a'`, `True`, `None`), line breaks in strings, a comma before a closing bracket, and a brace too many
    at the end. With `pip install 'agentloop-core[repair]'` also missing commas, and keys without quotes. Not taken are comments,
    as what looks like one may be a key or a value whose quote is missing.
    """
    text = text.strip(_SPACE)
    if len(text) > _MOST_CHARACTERS:
        return None
    flaws: list[str] = []
    for flaw, unwrapped in _WRAPPINGS:
        inner = unwrapped(text)
        flaws += [flaw] * (inner != text)
        text = inner
    tokens = _tokens(text)
    if tokens is None:
        return None
    for flaw, mended in _FLAWS:
        better = mended(tokens)
        flaws += [flaw] * (better != tokens)
        tokens = better
    if not _is_object(tokens):
        tokens = _with_library(tokens)
        flaws.append("commas were missing, or keys had no quotes")
    return Repair(" ".join(tokens), tuple(flaws)) if tokens and flaws else None


def told(result: ToolResult, repair: Repair | None) -> ToolResult:
    """Add to what the model reads that its call was repaired, and log it."""
    if repair is None:
        return result
    _log.info("%r was called with arguments that were not valid JSON and were repaired: %s", result.name, "; ".join(repair.flaws))
    match result.content:
        case str() as words:
            return replace(result, content=f"{words}\n\n{repair.remark}")
        case parts:
            return replace(result, content=(*parts, Text(f"\n\n{repair.remark}")))


def _out_of_mark(text: str) -> str:
    return text.removeprefix("\ufeff").strip(_SPACE)


_FENCE = re.compile(r"```(?:json[5c]?|python)?", re.IGNORECASE)


def _out_of_fence(text: str) -> str:
    opening = _FENCE.match(text)
    if opening is None or not text.endswith("```", opening.end()):
        return text
    return text[opening.end() : -3].strip(_SPACE)


def _out_of_string(text: str) -> str:
    try:
        inner: Any = json.loads(text, strict=False) if text.startswith('"') else None
    except ValueError:
        return text
    return inner.strip(_SPACE) if isinstance(inner, str) else text


_WRAPPINGS: Sequence[tuple[str, Callable[[str], str]]] = (
    ("a byte order mark stood before them", _out_of_mark),
    ("they stood in a Markdown fence", _out_of_fence),
    ("they were written as a string", _out_of_string),
)

# Quantifiers that give nothing back keep a long string from costing memory for each of its characters.
_TOKEN = re.compile(
    r"""
    [ \t\r\n]*+
    (
        "(?:[^"\\\x00-\x08\x0b\x0c\x0e-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"
        # The escapes that mean the same in Python and in JSON, of which \x41 and \/ are none.
        | '(?:[^'\\\x00-\x1f]++|\\(?:['"\\bfnrt]|u[0-9a-fA-F]{4}))*+'
        | -?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![\w.$+-])
        | [A-Za-z_$][\w$]*+
        | [{}\[\]:,]
    )
    [ \t\r\n]*+
    """,
    re.VERBOSE | re.ASCII,
)


def _tokens(text: str) -> list[str] | None:
    """Split the text, or give None where it holds something else, such as a string without an end."""
    found: list[str] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or len(found) == _MOST_TOKENS:
            return None
        found.append(token[1])
        place = token.end()
    return found


def _in_double_quotes(tokens: list[str]) -> list[str]:
    return [_requoted(token) if token[0] == "'" else token for token in tokens]


def _requoted(token: str) -> str:
    # Between two backslashes that stand for one, each other backslash escapes what comes after it.
    pieces = token[1:-1].split("\\\\")
    return '"' + "\\\\".join(piece.replace("\\'", "'").replace('\\"', '"').replace('"', '\\"') for piece in pieces) + '"'


_OF_PYTHON = {"True": "true", "False": "false", "None": "null"}


def _in_words_of_json(tokens: list[str]) -> list[str]:
    return [_OF_PYTHON.get(token, token) for token in tokens]


def _with_breaks_escaped(tokens: list[str]) -> list[str]:
    return [token.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") for token in tokens]


def _without_surplus_braces(tokens: list[str]) -> list[str]:
    end = _end_of_first(tokens)
    if set(tokens[end:]) != {"}"}:
        return tokens
    # Of {"a": {"b": 1}, "c": 2}} either brace may be the one too many, and "c" stands in another object each time.
    keys = [place - 1 for place, each in enumerate(tokens[:end]) if each == ":"]
    return tokens if any("}" in tokens[max(key - 2, 0) : key] for key in keys) else tokens[:end]


def _end_of_first(tokens: list[str]) -> int:
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token in _CLOSING) - (token in _CLOSING.values())
        if depth <= 0:
            return place + 1
    return len(tokens)


_CLOSING = {"{": "}", "[": "]"}


def _without_last_commas(tokens: list[str]) -> list[str]:
    around = zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False)
    return [each for before, each, after in around if not (each == "," and after in _CLOSING.values() and before not in _NO_VALUE)]


_NO_VALUE = {"", "{", "[", ",", ":"}

_FLAWS: Sequence[tuple[str, Callable[[list[str]], list[str]]]] = (
    ("strings stood in single quotes", _in_double_quotes),
    ("True, False or None stood for true, false or null", _in_words_of_json),
    ("line breaks or tabs in strings were not escaped", _with_breaks_escaped),
    # Before the commas, as a comma after the first object shows that more was meant to come.
    ("a brace too many stood at the end", _without_surplus_braces),
    ("a comma stood before a closing bracket", _without_last_commas),
)


def _is_object(tokens: list[str]) -> bool:
    try:
        return isinstance(json.loads(" ".join(tokens)), dict)
    except (ValueError, RecursionError):
        return False


def _with_library(tokens: list[str]) -> list[str]:
    """Take what json-repair makes of them if it has only added commas and the quotes of keys, else give nothing."""
    if sum(map(len, tokens)) > _MOST_FOR_LIBRARY or not _is_worth_a_try(tokens):
        return []
    try:
        from json_repair import repair_json  # noqa: PLC0415  # an extra
    except ImportError:
        return []
    try:
        made = _tokens(json.dumps(repair_json(" ".join(tokens), return_objects=True), ensure_ascii=False))
    except Exception:  # noqa: BLE001  # a stranger's code reads a model's text
        return []
    mended = _rewritten(tokens, made or [])
    return mended if _is_object(mended) else []


def _is_worth_a_try(tokens: list[str]) -> bool:
    """Whether each bracket has its partner and each word is a value or a key, without which nothing would be taken."""
    words = (token for token, after in zip(tokens, [*tokens[1:], ""], strict=False) if after != ":" and _KEY.fullmatch(token))
    return tokens[:1] == ["{"] and _is_balanced(tokens) and not any(words)


def _is_balanced(tokens: list[str]) -> bool:
    due: list[str] = []
    for token in tokens:
        if token in _CLOSING:
            due.append(_CLOSING[token])
        elif token in _CLOSING.values() and (not due or due.pop() != token):
            return False
    return not due


def _rewritten(tokens: list[str], made: list[str]) -> list[str]:
    """Add to the tokens the commas and quotes that were made, or give nothing where anything else was."""
    found: list[str] = []
    left: Iterator[tuple[str, str]] = iter([*zip(tokens, [*tokens[1:], ""], strict=True), ("", "")])
    token, after = next(left)
    for new in made:
        before = found[-1] if found else ""
        is_key = after == ":" and before in {"{", ","}
        if is_key and _KEY.fullmatch(token) and new == f'"{token}"':
            found.append(new)
        elif token == new or (token and _value(token) == _value(new)):
            found.append(token)
        elif new == "," and (after == ":" or (before in _CLOSING.values() and token in _CLOSING)):
            # Elsewhere a comma that is missing may be a quote that was not escaped, or a space within a number.
            found.append(new)
            continue
        else:
            return []
        token, after = next(left)
    return [] if token else found


_KEY = re.compile(r"(?!(?:true|false|null)$)[A-Za-z_$][\w$]*", re.ASCII)


def _value(token: str) -> tuple[object, Any]:
    try:
        value: Any = json.loads(token)
    except ValueError:
        # What is no value equals nothing.
        return object, object()
    # 1 and true are equal in Python.
    return value.__class__, value
