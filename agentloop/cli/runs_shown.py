"""Shows runs that are written down: as a list, one by one, compared, and while they go on."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from agentloop.cli.conversation import write_line
from agentloop.cli.escape import call_line, duration, one_line, outcome, printable
from agentloop.cli.listing import print_table
from agentloop.journal.differences import Diff
from agentloop.journal.reading import Summary
from agentloop.journal.runs import Shown, Waiting
from agentloop.journal.store import Record
from agentloop.journal.words import DECISION, POSED
from agentloop.journal.written import OUTCOME, REPLY, place_of
from agentloop.messages import Message, ToolCall, ToolResult

_SUSPECT = re.compile(r"[^ -~\n]")
_PROMPT_LENGTH = 60
_WORDS_LENGTH = 200
_WISHES = {"approval": "needs an approval", "result": "needs a result", "outcome": "is in doubt: begun, and then cut off"}
_REMEDIES = {
    "approval": ("approve", "", "or deny"),
    "result": ("answer", " --result TEXT", "or deny"),
    "outcome": ("approve", "", "which makes it again; or answer, or deny, where nobody knows"),
}


def list_runs(runs: Sequence[Summary], *, as_json: bool) -> None:
    """Print the runs, a line each."""
    if as_json:
        write_line([asdict(run) for run in runs], sys.stdout)
        return
    if not runs:
        sys.stdout.write("no run is written down there\n")
        return
    print_table([(run.run_id, run.status, _when(run.begun), _counted(run.steps, "step"), _tokens(run), _about(run)) for run in runs])


def show_run(run: Shown, *, as_json: bool, verbose: bool) -> None:
    """Print what the run did, step by step, and what it waits for."""
    if as_json:
        write_line(_plain(run), sys.stdout)
        return
    sys.stdout.writelines(f"{line}\n" for line in _page(run, verbose=verbose))


def safe_json(text: str) -> str:
    """Spell out in JSON text, as JSON does, what a terminal would obey or hide; it still means the same."""
    return _SUSPECT.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def show_diff(diff: Diff, *, as_json: bool) -> None:
    """Print what differs."""
    if as_json:
        write_line(asdict(diff), sys.stdout)
        return
    sys.stdout.write(printable(diff.text, keep="\n") or "nothing differs\n")


def show_word(word: str, waiting: Waiting, *, left: int) -> None:
    """Tell that the word was sent, and how many calls wait for another."""
    rest = f"{_counted(left, 'call')} still {'waits' if left == 1 else 'wait'}" if left else "resume the run to go on"
    sys.stderr.write(f"{word}: {call_line(waiting.call)}; {rest}\n")


class Follower:
    """Shows the records of a run as they come."""

    def __init__(self, *, as_lines: bool, verbose: bool) -> None:
        self._as_lines = as_lines
        self._verbose = verbose
        self._calls: dict[int, tuple[ToolCall, ...]] = {}

    def show(self, record: Record) -> None:
        """Show one record."""
        if self._as_lines:
            write_line(
                {"seq": record.seq, "run": record.run_id, "key": record.key, "value": from_json(record.value), "at": record.at}, sys.stdout
            )
            return
        sys.stdout.writelines(f"{line}\n" for line in self._lines(record))
        sys.stdout.flush()

    def _lines(self, record: Record) -> Iterator[str]:
        place = place_of(record.key)
        match place.kind if place else "":
            case "reply" if place:
                reply = REPLY.read(record.value, key=record.key)
                self._calls[place.step] = reply.calls
                calls = [_made(call, None) for call in reply.calls]
                yield from _numbered(place.step, [*_words(reply.message, whole=self._verbose or not reply.calls), *calls])
            case "result" if place:
                yield from self._result_lines(record, self._calls[place.step][place.index])
            case "question":
                posed = POSED.read(record.value, key=record.key)
                yield f"   ? {call_line(posed.call)}  {_WISHES[posed.question.wants]}"
            case "word":
                decision = DECISION.read(record.value, key=record.key)
                yield f"   ! {decision.word}{one_line(f': {decision.reason}') if decision.reason else ''}"
            case _:
                pass

    def _result_lines(self, record: Record, call: ToolCall) -> Iterator[str]:
        came_to = OUTCOME.read(record.value, key=record.key)
        if came_to.result is not None:
            yield f"   {_made(call, came_to.result, seconds=came_to.seconds)}"


def _page(run: Shown, *, verbose: bool, indent: str = "") -> Iterator[str]:
    summary = run.summary
    yield indent + "  ".join(
        [
            one_line(summary.run_id),
            one_line(summary.name),
            summary.status,
            _counted(summary.steps, "step"),
            _tokens(summary),
            _times(summary),
        ]
    )
    if summary.forked:
        yield f"{indent}forked from {one_line(summary.forked.run_id)} at step {summary.forked.at}"
    yield from (indent + line for line in _said(run, verbose=verbose))
    for inner in run.spawned:
        yield ""
        yield from _page(inner, verbose=verbose, indent=f"{indent}  ")
    if run.waiting and not indent:
        yield ""
        yield from _waiting(run)


def _said(run: Shown, *, verbose: bool) -> Iterator[str]:
    step = -1
    results = {result.call_id: result for message in run.transcript for result in message.results}
    for message in run.transcript:
        match message.role:
            case "assistant":
                step += 1
                made = [_made(call, results.get(call.id)) for call in message.calls]
                yield from _numbered(step, [*_words(message, whole=verbose or not message.calls), *made])
            case "tool":
                pass
            case role:
                yield f">  {'' if role == 'user' else f'{role}: '}{_text(message, whole=verbose)}"


def _made(call: ToolCall, result: ToolResult | None, *, seconds: float | None = None) -> str:
    if result is None:
        return f"● {call_line(call)}"
    return f"{'✗' if result.is_error else '✓'} {call_line(call)}  {outcome(result, seconds=seconds, verbose=True)}"


def _words(message: Message, *, whole: bool) -> list[str]:
    words = _text(message, whole=whole)
    return [words] if words else []


def _numbered(step: int, lines: Sequence[str]) -> Iterator[str]:
    """Write the number of the step before its first line."""
    yield from (f"{step if index == 0 else '':<2} {line}" for index, line in enumerate(lines or ("(nothing)",)))


def _text(message: Message, *, whole: bool) -> str:
    if not whole:
        return one_line(message.text, _WORDS_LENGTH)
    return "\n".join(f"   {line}".rstrip() for line in printable(message.text.strip(), keep="\n\t").splitlines()).strip()


def _waiting(run: Shown) -> Iterator[str]:
    for waiting in run.waiting:
        yield f"?  {call_line(waiting.call)}  {_WISHES[waiting.question.wants]}"
        verb, option, others = _REMEDIES[waiting.question.wants]
        yield f"   agentloop runs {verb} {one_line(waiting.run_id)} {one_line(waiting.call.id)}{option}  ({others})"
        if waiting.question.problem:
            yield f"   it asks again: {one_line(waiting.question.problem)}"


def _plain(run: Shown) -> dict[str, Any]:
    return {
        **asdict(run.summary),
        "transcript": from_json(run.transcript.to_json()),
        "waiting": [asdict(each) for each in run.waiting],
        "spawned": [_plain(inner) for inner in run.spawned],
    }


def _about(run: Summary) -> str:
    origin = f" (fork of {run.forked.run_id} at {run.forked.at})" if run.forked else ""
    return f"{run.name}{origin}: {one_line(run.prompt, _PROMPT_LENGTH)}" if run.prompt else f"{run.name}{origin}"


def _tokens(run: Summary) -> str:
    return f"{run.usage.total_tokens:,} tokens"


def _times(run: Summary) -> str:
    return f"{_when(run.begun)}, for {duration(run.last - run.begun)}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
