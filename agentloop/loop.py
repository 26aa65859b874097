"""Ask the model, answer its tool calls, repeat."""

from __future__ import annotations

from dataclasses import replace

from agentloop.deltas import Delta, ShownDelta
from agentloop.dispatch import dispatch
from agentloop.errors import ContentFiltered, LengthLimit, ModelRefused
from agentloop.events import Notice, PartialOutput, Paused, Replied, StepStarted
from agentloop.messages import Reply, Request, Settings
from agentloop.run import Run
from agentloop.transcript import Ask, Dispatch, Done, Wait


async def advance(run: Run) -> None:
    """Move the run forward until it is done or must wait for a person."""
    while True:
        match run.transcript.next_move(run.waits):
            case Ask():
                await ask(run)
            case Dispatch(calls):
                await dispatch(calls, run)
            case Wait(calls):
                run.emit(Paused(calls))
                return
            case Done():
                if run.accept():
                    return


async def ask(run: Run) -> None:
    """Ask the model for the next reply and write it down.

    Raises:
        LimitReached: The run may take no further step.
        ModelError: There is no reply, or none that the run can go on with; nothing is written down.
    """
    run.budget.take_step()
    request = _request(run)
    run.emit(StepStarted(request.step))

    growing = run.output.growing() if run.output else None

    async def hear(delta: Delta | Notice) -> None:
        if isinstance(delta, ShownDelta | Notice):
            run.emit(delta)
            if growing and (value := growing.grown(delta)) is not None:
                run.emit(PartialOutput(value))
            await run.room()

    reply = await run.model.ask(request, hear)
    run.budget.usage += reply.usage
    _must_be_whole(reply)
    run.emit(Replied(run.transcript.add_reply(reply)))


def _request(run: Run) -> Request:
    return Request(
        messages=run.transcript.asked,
        instructions=run.instructions,
        tools=run.descriptions,
        hosted=run.hosted,
        settings=_settings(run),
        output=run.output.schema if run.output else None,
        step=run.transcript.replies,
        stream=run.stream,
    )


def _settings(run: Run) -> Settings:
    # A model that is told to correct its answer has called what it needed.
    if run.corrections:
        return replace(run.settings, tool_choice="none")
    # A model that must call a tool in each reply would never finish.
    forced = run.settings.tool_choice not in {None, "auto", "none"}
    if forced and run.transcript.asked[-1].role == "tool":
        return replace(run.settings, tool_choice="auto")
    return run.settings


def _must_be_whole(reply: Reply) -> None:
    if reply.finish_reason == "length":
        what = "in the middle of a tool call, which was not run" if reply.calls else "by the limit of its tokens"
        raise LengthLimit(f"the reply was cut {what}; raise Settings(max_tokens=...)", partial=reply)
    if reply.finish_reason == "content_filter":
        raise ContentFiltered("the provider's content filter withheld the reply; change the prompt", partial=reply)
    if reply.refusal and not reply.calls:
        raise ModelRefused(f"the model declined: {reply.refusal}", partial=reply)
