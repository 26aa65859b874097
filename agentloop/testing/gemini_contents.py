"""What the contents of a request to Gemini must be: who speaks, which parts there are, and that calls are answered and signed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentloop.testing.answers import is_forged
from agentloop.testing.schema_rules import in_camel_case, is_list, is_object, is_one_of, object_of

Json = Mapping[str, Any]

# Google's word for calls that another model made, https://ai.google.dev/gemini-api/docs/thought-signatures
_STAND_IN = "skip_thought_signature_validator"
# What a part may be; each has one of these.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "text": (),
    "inlineData": ("mimeType", "data"),
    "fileData": ("fileUri",),
    "functionCall": ("name",),
    "functionResponse": ("name", "response"),
    "executableCode": ("code",),
    "codeExecutionResult": ("outcome",),
    "toolCall": (),
    "toolResponse": (),
}
_BESIDE = ("thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution", "mediaProcessing")
_CALL = ("id", "name", "args", "partialArgs", "willContinue")
_RESPONSE = ("id", "name", "response", "parts", "scheduling", "willContinue")


def call_words(name: str, arguments: Any) -> str:
    """Say a call in the words that its signature is made of, in whatever order its arguments come back."""
    return json.dumps([name, arguments], sort_keys=True)


def named(value: Any) -> Json:
    """Take a JSON value that should be an object, with its fields named as Google's API names them."""
    return {in_camel_case(name): each for name, each in object_of(value).items()}


def transcript_problems(contents: Sequence[Any], *, wants_signatures: bool) -> Iterator[str]:
    """Walk through the contents; the calls of one must all be answered by the next."""
    said = [_said(content) for content in contents]
    for number, content in enumerate(said):
        yield from content_problems(content, place=f"contents[{number}]")
    for number, content in enumerate(said):
        before: Json = said[number - 1] if number else {}
        after: Json = said[number + 1] if number + 1 < len(said) else {}
        if calls := _each(content, "functionCall"):
            if _speaker(before) != "user":
                yield "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
            yield from _answer_problems(calls, _each(after, "functionResponse") if _speaker(after) == "user" else [])
        elif _each(after, "functionResponse"):
            yield "Please ensure that function response turn comes immediately after a function call turn."
    if said and _each(said[0], "functionResponse"):
        yield "Please ensure that function response turn comes immediately after a function call turn."
    if _speaker(said[-1]) != "user":
        yield "Please ensure that multiturn requests end with a user turn."
    if wants_signatures:
        yield from _unsigned(said)


def content_problems(content: Json, *, place: str) -> Iterator[str]:
    """Look at one content and its parts."""
    yield from (
        f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}'." for name in content if name not in {"role", "parts"}
    )
    role = content.get("role", "user")
    if not is_one_of(role, ("user", "model")):
        yield f"Please use a valid role: user, model; {place} has {role!r}."
    parts = content.get("parts")
    if not is_list(parts) or not parts:
        yield f"{place}.parts must not be empty."
        return
    for number, part in enumerate(parts):
        yield from _part_problems(object_of(part), str(role), place=f"{place}.parts[{number}]")


def _part_problems(part: Json, role: str, *, place: str) -> Iterator[str]:
    kinds = [kind for kind in _KINDS if kind in part]
    unknown = [name for name in part if name not in {*_KINDS, *_BESIDE}]
    if unknown:
        yield f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at '{place}': Cannot find field."
    if len(kinds) != 1:
        yield f"{place}.data: required oneof field 'data' must have one initialized field, not {len(kinds)}."
        return
    kind = kinds[0]
    value = part[kind]
    if kind == "text":
        # Google ends its own streams with empty words, and takes them back.
        if not isinstance(value, str) or (not value and role != "model"):
            yield f"Unable to submit request because {place} must have a text parameter that is not empty."
    elif not is_object(value):
        yield f"Invalid value at '{place}.{kind}': it must be an object."
        return
    else:
        fields = named(value)
        yield from (f"{place}.{kind}.{name}: it must not be empty." for name in _KINDS[kind] if name not in fields)
    if role != "model" and kind in {"functionCall", "executableCode"}:
        yield f"{place}: a {kind} must be said by the role 'model'."
    if role == "model" and kind == "functionResponse":
        yield f"{place}: a functionResponse must be said by the role 'user'."
    yield from _signature_problems(part, kind, place)
    if kind in {"functionCall", "functionResponse"}:
        yield from _function_problems(named(value), kind, place=f"{place}.{kind}")


def _function_problems(said: Json, kind: str, *, place: str) -> Iterator[str]:
    known = _CALL if kind == "functionCall" else _RESPONSE
    yield from (
        f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}': Cannot find field." for name in said if name not in known
    )
    if not isinstance(said.get("name"), str) or not said["name"]:
        yield f"{place}.name: Name cannot be empty."
    for name in ("args", "response"):
        # JSON for google.protobuf.Struct is an object, https://protobuf.dev/programming-guides/json
        if said.get(name) is not None and not is_object(said[name]):
            yield f"Invalid value at '{place}.{name}' (type.googleapis.com/google.protobuf.Struct): {str(said[name])[:80]!r}"


def _signature_problems(part: Json, kind: str, place: str) -> Iterator[str]:
    signature = part.get("thoughtSignature")
    if signature is not None and not isinstance(signature, str):
        yield f"Invalid value at '{place}.thought_signature': it must be a string."
    call = object_of(part.get("functionCall"))
    content = ("call", call_words(call.get("name", ""), call.get("args", {}))) if kind == "functionCall" else ("text",)
    if is_forged(signature, *content):
        yield f"{place}: Thought signature is not valid."


def _answer_problems(calls: Sequence[Json], responses: Sequence[Json]) -> Iterator[str]:
    if len(calls) != len(responses):
        yield (
            "Please ensure that the number of function response parts is equal to the number of function call parts of the function "
            f"call turn; {len(responses)} answer {len(calls)}."
        )
        return
    for call, response in zip(calls, responses, strict=True):
        if call.get("name") != response.get("name"):
            yield f"The function response {response.get('name')!r} stands where the call of {call.get('name')!r} is to be answered."
        elif call.get("id") and response.get("id") and call["id"] != response["id"]:
            yield f"The function response to {call['name']!r} has the id {response['id']!r}; the call has {call['id']!r}."


def _unsigned(said: Sequence[Json]) -> Iterator[str]:
    """Look for calls without a signature in the turn that is under way: behind the last words of the user."""
    plain = [number for number, content in enumerate(said) if _speaker(content) == "user" and not _each(content, "functionResponse")]
    for number, content in enumerate(said[plain[-1] if plain else 0 :], plain[-1] if plain else 0):
        signed = [part for part in _parts(content) if "functionCall" in part]
        if signed and not signed[0].get("thoughtSignature"):
            name = object_of(signed[0]["functionCall"]).get("name")
            yield (
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly. "
                f"Function call `{name}`, position {number + 1}; where another model made the call, say {_STAND_IN!r}."
            )


def _said(content: Any) -> Json:
    content = named(content)
    parts = content.get("parts")
    return {**content, "parts": [named(part) for part in parts]} if is_list(parts) else content


def _parts(content: Json) -> list[Json]:
    return [object_of(part) for part in content["parts"]] if is_list(content.get("parts")) else []


def _each(content: Json, kind: str) -> list[Json]:
    return [object_of(part[kind]) for part in _parts(content) if kind in part]


def _speaker(content: Json) -> str:
    return str(content.get("role", "user")) if content else ""
