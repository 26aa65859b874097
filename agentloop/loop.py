"""Ask the model, answer its tool calls, repeat."""

from __future__ import annotations

from dataclasses import replace

from agentloop.deltas import Delta, RestartDelta, ShownDelta, ToolCallDelta
from agentloop.dispatch import answer_early, dispatch
from agentloop.draining import Drain, drained
from agentloop.early import Early
from agentloop.errors import LengthLimit, LimitReached, ModelError
from agentloop.events import Notice, PartialOutput, Replied, StepStarted
from agentloop.journal.written import REPLY
from agentloop.messages import Reply, Request
from agentloop.questions import heard
from agentloop.recalling import recall
from agentloop.run import Run
from agentloop.transcript import Ask, Dispatch, Done, Wait
from agentloop.unpacking import unpacked
from agentloop.whole import must_be_whole


async def advance(run: Run) -> None:
    """Move the run forward until it is done or must wait for a person."""
    try:
        if run.journal.keeps and isinstance(run.transcript.next_move(), Dispatch):
            await recall(run)
        with drained(nested=run.budget.depth > 0) as drain:
            while await _moved(run, drain):
                pass
    finally:
        # Of use to the next request only; a transcript may be kept for long.
        run.transcript.asked.said.clear()
        if run.early:
            await run.early.end()


async def _moved(run: Run, drain: Drain | None) -> bool:
    """Make the next move, and say whether there may be another."""
    try:
        move = run.transcript.next_move(run.waits)
        if drain and isinstance(move, Ask | Dispatch):
            drain.check()
        match move:
            case Ask():
                await ask(run)
            case Dispatch(calls):
                await dispatch(calls, run)
            case Wait(calls):
                return await heard(calls, run)
            case Done():
                return not await run.accept()
    except LimitReached as reached:
        if not await run.concludes(reached):
            raise
    return True


async def ask(run: Run) -> None:
    """Ask the model for the next reply and write it down.

    Raises:
        LimitReached: The run may not go on.
        ModelError: There is no reply, or none that the run can go on with; nothing is written down.
    """
    if run.limited is None:
        run.repeats.check()
        run.budget.take_step()
    elif not run.budget.take_last_step():
        raise LimitReached(f"the run reached its limit of {run.limited}, and the one it is in has no step left either", limit=run.limited)
    try:
        async with run.budget.reserve(input_tokens=run.expected_input(), output_tokens=run.settings.max_tokens) as most:
            key = f"{run.transcript.replies}/reply"
            reply, replayed = await run.journal.step(key, lambda: _whole_reply(run, most), form=REPLY)
            run.count(reply.usage)
    except LengthLimit as cut:
        if run.budget.is_spent:
            raise run.budget.spent() from cut
        raise
    written = run.transcript.add_reply(reply)
    if run.early:
        run.early.keep(written.calls)
    run.emit(Replied(written, replayed))
    if replayed:
        await recall(run)


async def _whole_reply(run: Run, most: int | None) -> Reply:
    """Ask the model, and let only a reply through that the run can go on with."""
    try:
        reply = await _reply(run, most)
        must_be_whole(reply)
    except ModelError as error:
        if isinstance(error.partial, Reply):
            # What a broken reply took is paid for as well.
            run.budget.spend(error.partial.usage)
        raise
    reply = unpacked(reply, run.tools)
    if run.limited is not None and reply.calls:
        run.budget.spend(reply.usage)
        raise LimitReached(
            f"the run reached its limit of {run.limited}, and the model calls more tools instead of answering", limit=run.limited
        )
    return reply


async def _reply(run: Run, most: int | None) -> Reply:
    request = _request(run, most)
    run.emit(StepStarted(request.step))
    growing = run.output.growing() if run.output else None
    if run.early:
        await run.early.end()
    early = run.early = _early(run, request.step) if run.stream else None

    async def hear(delta: Delta | Notice) -> None:
        if not isinstance(delta, ShownDelta | Notice):
            return
        run.emit(delta)
        if early and isinstance(delta, ToolCallDelta | RestartDelta):
            early.hear(delta)
        if growing and (value := growing.grown(delta)) is not None:
            run.emit(PartialOutput(value))
        await run.room()

    return await run.model.ask(request, hear)


def _early(run: Run, step: int) -> Early:
    return Early(
        lambda call: answer_early(call, run),
        give_up=run.budget.give_back_calls,
        step=step,
        most=run.budget.limits.calls_per_reply,
    )


def _request(run: Run, most: int | None) -> Request:
    settings = run.settings_now()
    return Request(
        messages=run.transcript.asked,
        instructions=run.instructions,
        tools=run.descriptions,
        hosted=run.hosted,
        settings=replace(settings, max_tokens=most) if most is not None else settings,
        output=run.output.schema if run.output else None,
        step=run.transcript.replies,
        stream=run.stream,
    )
