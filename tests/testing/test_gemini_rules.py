"""Which requests to Gemini the scripted gateway refuses, and which it takes."""

import pytest

from agentloop.testing import Gateway, says
from agentloop.testing.answers import seal
from agentloop.testing.gemini_contents import call_words
from tests.testing.served import sent

SIGNATURE = seal(0, "call", call_words("add", {"a": 1}))
CALL = {"functionCall": {"name": "add", "args": {"a": 1}}}
SIGNED = {**CALL, "thoughtSignature": SIGNATURE}
SUB = {"functionCall": {"name": "sub", "args": {}}}
ANSWER = {"functionResponse": {"name": "add", "response": {"result": 1}}}
SUB_ANSWER = {"functionResponse": {"name": "sub", "response": {"result": 2}}}
SCHEMA = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]}
WHOLE = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}, "additionalProperties": False}
ADD = {"name": "add", "description": "Add.", "parameters": SCHEMA}
JSON = {"responseMimeType": "application/json"}


def user(*parts):
    return {"role": "user", "parts": [*parts]}


def model(*parts):
    return {"role": "model", "parts": [*parts]}


HELLO = user({"text": "Hello"})
REQUEST = {"contents": [HELLO]}


def talk(*contents):
    return {"contents": [*contents]}


def function(**changes):
    return {**REQUEST, "tools": [{"functionDeclarations": [{**ADD, **changes}]}]}


def schema(**changes):
    return function(parameters={"type": "OBJECT", "properties": {"a": {"type": "STRING", **changes}}})


def settings(**said):
    return {**REQUEST, "generationConfig": said}


REFUSED = {
    "no contents": ({}, "contents is not specified"),
    "empty contents": (talk(), "contents is not specified"),
    "an unknown field": ({**REQUEST, "model": "gemini-3-flash"}, 'Unknown name "model"'),
    "another's role": (talk({"role": "assistant", "parts": [{"text": "Hi"}]}), "valid role: user, model"),
    "another's content": (talk({"role": "user", "content": "Hi"}), 'Unknown name "content"'),
    "no parts": (talk(user()), "parts must not be empty"),
    "an empty part": (talk(user({})), "must have one initialized field"),
    "a part of two kinds": (talk(user({"text": "Hi", "inlineData": {"mimeType": "a/b", "data": ""}})), "must have one initialized field"),
    "an unknown part": (talk(user({"type": "text", "text": "Hi"})), 'Unknown name "type"'),
    "an empty text": (talk(user({"text": ""})), "must have a text parameter"),
    "a picture without its kind": (talk(user({"inlineData": {"data": "AA=="}})), "mimeType"),
    "the model's words at the end": (talk(HELLO, model({"text": "Hi"})), "end with a user turn"),
    "a call nobody answers": (talk(HELLO, model(CALL), HELLO), "0 answer 1"),
    "one of two calls answered": (talk(HELLO, model(CALL, SUB), user(ANSWER)), "1 answer 2"),
    "answers in two contents": (talk(HELLO, model(CALL, SUB), user(ANSWER), user(SUB_ANSWER)), "1 answer 2"),
    "answers in another order": (talk(HELLO, model(CALL, SUB), user(SUB_ANSWER, ANSWER)), "where the call of 'add'"),
    "an answer of no call": (talk(HELLO, model({"text": "Hi"}), user(ANSWER)), "immediately after a function call turn"),
    "an answer at the beginning": (talk(user(ANSWER)), "immediately after a function call turn"),
    "an answer with another id": (
        talk(
            HELLO,
            model({"functionCall": {**CALL["functionCall"], "id": "a"}}),
            user({"functionResponse": {**ANSWER["functionResponse"], "id": "b"}}),
        ),
        "the call has 'a'",
    ),
    "a call at the beginning": (talk(model(CALL), user(ANSWER)), "immediately after a user turn"),
    "a call behind the model's words": (talk(HELLO, model({"text": "Hm"}), model(CALL), user(ANSWER)), "immediately after a user turn"),
    "a call of the user": (talk(HELLO, user(CALL)), "must be said by the role 'model'"),
    "an answer as text": (
        talk(HELLO, model(CALL), user({"functionResponse": {"name": "add", "response": "1"}})),
        "google.protobuf.Struct",
    ),
    "arguments as text": (talk(HELLO, model({"functionCall": {"name": "add", "args": "{}"}}), user(ANSWER)), "google.protobuf.Struct"),
    "a call_id": (talk(HELLO, model({"functionCall": {"name": "add", "callId": "1"}}), user(ANSWER)), 'Unknown name "callId"'),
    "a signature of another call": (
        talk(HELLO, model({**SIGNED, "functionCall": {"name": "add", "args": {"a": 2}}}), user(ANSWER)),
        "Thought signature is not valid",
    ),
    "a name with a space": (function(name="add up"), "must start with a letter or an underscore"),
    "a name that begins with a digit": (function(name="1add"), "must start with a letter or an underscore"),
    "a function twice": ({**REQUEST, "tools": [{"functionDeclarations": [ADD, ADD]}]}, "Duplicate function declaration found: add"),
    "OpenAI's tools": ({**REQUEST, "tools": [{"type": "function", "function": ADD}]}, 'Unknown name "type"'),
    "strictness": (function(strict=True), 'Unknown name "strict"'),
    "both kinds of schema": (function(parametersJsonSchema={"type": "object"}), "cannot both be set"),
    "a reference": (schema(**{"$ref": "#/$defs/A"}), 'Unknown name "$ref"'),
    "oneOf": (schema(oneOf=[{"type": "STRING"}]), 'Unknown name "oneOf"'),
    "allOf": (schema(allOf=[{"type": "STRING"}]), 'Unknown name "allOf"'),
    "const": (schema(const="x"), 'Unknown name "const"'),
    "additionalProperties": (function(parameters={**SCHEMA, "additionalProperties": False}), 'Unknown name "additionalProperties"'),
    "a list of types": (schema(type=["string", "null"]), "is none of"),
    "an enum of numbers": (schema(type="INTEGER", enum=[1, 2]), "only strings are allowed"),
    "an array of nothing": (schema(type="ARRAY"), "items: missing field"),
    "an object without properties": (function(parameters={"type": "OBJECT"}), "should be non-empty for OBJECT type"),
    "a property that is not there": (function(parameters={**SCHEMA, "required": ["b"]}), "'b' is not defined"),
    "a schema of no object": (function(parameters={"type": "STRING"}), "must be OBJECT"),
    "OpenAI's choice": ({**function(), "toolConfig": {"functionCallingConfig": {"mode": "auto"}}}, "none of MODE_UNSPECIFIED"),
    "names without a must": (
        {**function(), "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["add"]}}},
        "only be set when the mode is ANY or VALIDATED",
    ),
    "a name of no function": (
        {**function(), "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["sub"]}}},
        "'sub' is not among",
    ),
    "a must without functions": ({**REQUEST, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
    "an unknown setting": (settings(maxTokens=9), 'Unknown name "maxTokens"'),
    "no tokens": (settings(maxOutputTokens=0), "must be a number above 0"),
    "too much temperature": (settings(temperature=3), "from 0 to 2"),
    "six stops": (settings(stopSequences=["x"] * 6), "at most 5"),
    "a schema without its type": (settings(responseSchema=SCHEMA), "needs application/json"),
    "both kinds of output": (settings(**JSON, responseSchema=SCHEMA, responseJsonSchema={}), "cannot both be set"),
    "a budget and a level": (settings(thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "low"}), "only one of"),
    "a level of an older model": (settings(thinkingConfig={"thinkingLevel": "low"}), "Thinking level is not supported"),
    "functions beside an output of an older model": ({**function(), "generationConfig": JSON}, "is unsupported"),
    "a picture for an instruction": ({**REQUEST, "systemInstruction": user({"fileData": {"fileUri": "x"}})}, "only text is allowed"),
}


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_request_that_google_refuses_is_refused(body, words):
    gateway = Gateway(says("Hi"))

    answer = await sent(gateway, "/v1beta/models/gemini-2.5-flash:generateContent", body)

    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert words in answer.json()["error"]["message"]
    assert gateway.turns_left == 1


UNSIGNED = {
    "a call": talk(HELLO, model(CALL), user(ANSWER)),
    "the second step": talk(HELLO, model(SIGNED), user(ANSWER), model(SUB), user(SUB_ANSWER)),
    "the first step": talk(HELLO, model(CALL), user(ANSWER), model({**SUB, "thoughtSignature": "x"}), user(SUB_ANSWER)),
}


@pytest.mark.parametrize("body", UNSIGNED.values(), ids=UNSIGNED.keys())
async def test_the_third_generation_wants_calls_signed_and_older_ones_do_not(body):
    newer = await sent(Gateway(says("Hi")), "/v1beta/models/gemini-3-flash:generateContent", body)
    older = await sent(Gateway(says("Hi")), "/v1beta/models/gemini-2.5-flash:generateContent", body)

    assert (newer.status_code, older.status_code) == (400, 200)
    assert "Function call is missing a thought_signature" in newer.json()["error"]["message"]


TAKEN = {
    "words": REQUEST,
    "no role": talk({"parts": [{"text": "Hi"}]}),
    "snake case": {**REQUEST, "system_instruction": {"parts": [{"text": "Be kind."}]}, "generation_config": {"max_output_tokens": 9}},
    "a signed call": talk(HELLO, model({"text": "I add."}, SIGNED, SUB), user(ANSWER, SUB_ANSWER)),
    "a call of a real model": talk(HELLO, model({**CALL, "thoughtSignature": "EvIC"}), user(ANSWER)),
    "a call of another model": talk(HELLO, model({**CALL, "thoughtSignature": "skip_thought_signature_validator"}), user(ANSWER)),
    "an unsigned call before the user's last words": talk(HELLO, model(CALL), user(ANSWER), model({"text": "1"}), HELLO),
    "empty words with a signature": talk(HELLO, model({"text": "", "thoughtSignature": seal(3, "text")}), HELLO),
    "an object of no properties": function(parameters={"type": "OBJECT", "properties": {}}),
    "any of two": function(parameters={"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}),
    "a whole JSON schema": {**REQUEST, "tools": [{"functionDeclarations": [{"name": "add", "parametersJsonSchema": WHOLE}]}]},
    "a must": {**function(), "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}}},
    "hosted tools": {**REQUEST, "tools": [{"googleSearch": {}}, {"url_context": {}}]},
    "functions beside an output": {**function(), "generationConfig": {**JSON, "responseSchema": SCHEMA}},
    "a level": settings(thinkingConfig={"thinkingLevel": "LOW", "includeThoughts": True}),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
async def test_a_request_that_google_takes_is_taken(body):
    answer = await sent(Gateway(says("Hi")), "/v1beta/models/gemini-3-flash:generateContent", body)

    assert answer.status_code == 200, answer.text
