"""Ask the model, answer its tool calls, repeat."""

from __future__ import annotations

from dataclasses import replace

from agentloop.deltas import Delta, RestartDelta, ShownDelta, ToolCallDelta
from agentloop.dispatch import answer_early, dispatch
from agentloop.early import Early
from agentloop.errors import BadReply, ContentFiltered, LengthLimit, LimitReached, ModelError, ModelRefused
from agentloop.events import Notice, PartialOutput, Replied, StepStarted
from agentloop.messages import Reply, Request, Settings
from agentloop.run import Run
from agentloop.transcript import Ask, Dispatch, Done, Wait
from agentloop.unpacking import unpacked


async def advance(run: Run) -> None:
    """Move the run forward until it is done or must wait for a person."""
    try:
        while await _moved(run):
            pass
    finally:
        if run.early:
            await run.early.end()


async def _moved(run: Run) -> bool:
    """Make the next move, and say whether there may be another."""
    try:
        match run.transcript.next_move(run.waits):
            case Ask():
                await ask(run)
            case Dispatch(calls):
                await dispatch(calls, run)
            case Wait(calls):
                run.pause(calls)
                return False
            case Done():
                return not run.accept()
    except LimitReached as reached:
        if not run.concludes(reached):
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
    async with run.budget.reserve(input_tokens=run.expected_input(), output_tokens=run.settings.max_tokens) as most:
        try:
            reply = await _reply(run, most)
        except ModelError as error:
            if isinstance(error.partial, Reply):
                # What a broken reply took is paid for as well.
                run.budget.spend(error.partial.usage)
            raise
        run.count(reply.usage)
    if reply.finish_reason == "length" and run.budget.is_spent:
        raise run.budget.spent()
    _must_be_whole(reply)
    reply = unpacked(reply, run.tools)
    if run.limited is not None and reply.calls:
        raise LimitReached(
            f"the run reached its limit of {run.limited}, and the model calls more tools instead of answering", limit=run.limited
        )
    written = run.transcript.add_reply(reply)
    if run.early:
        run.early.keep(written.calls)
    run.emit(Replied(written))


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
    settings = _settings(run)
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


def _settings(run: Run) -> Settings:
    # A model that is told to correct its answer has called what it needed, and one at its limit may call no more.
    if run.corrections or run.limited:
        return replace(run.settings, tool_choice="none")
    # A model that must call a tool in each reply would never finish.
    forced = run.settings.tool_choice not in {None, "auto", "none"}
    if forced and run.transcript.asked[-1].role == "tool":
        return replace(run.settings, tool_choice="auto")
    return run.settings


def _must_be_whole(reply: Reply) -> None:
    if reply.finish_reason == "pause":
        raise BadReply("the model paused in the middle of its reply, and did not go on by itself", partial=reply)
    if reply.finish_reason == "length":
        what = "in the middle of a tool call, which was not run" if reply.calls else "by the limit of its tokens"
        raise LengthLimit(f"the reply was cut {what}; raise Settings(max_tokens=...)", partial=reply)
    if reply.finish_reason == "content_filter":
        raise ContentFiltered("the provider's content filter withheld the reply; change the prompt", partial=reply)
    if reply.refusal and not reply.calls:
        raise ModelRefused(f"the model declined: {reply.refusal}", partial=reply)
