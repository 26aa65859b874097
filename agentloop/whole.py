"""Tells replies that a run can go on with from those that it cannot."""

from __future__ import annotations

from agentloop.errors import BadReply, ContentFiltered, LengthLimit, ModelRefused
from agentloop.messages import Reply


def must_be_whole(reply: Reply) -> None:
    """Make sure that the reply was not cut, withheld or refused.

    Raises:
        ModelError: It was; `.partial` holds it.
    """
    if reply.finish_reason == "pause":
        raise BadReply("the model paused in the middle of its reply, and did not go on by itself", partial=reply)
    if reply.finish_reason == "length":
        what = "in the middle of a tool call, which was not run" if reply.calls else "by the limit of its tokens"
        raise LengthLimit(f"the reply was cut {what}; raise Settings(max_tokens=...)", partial=reply)
    if reply.finish_reason == "content_filter":
        raise ContentFiltered("the provider's content filter withheld the reply; change the prompt", partial=reply)
    if reply.refusal and not reply.calls:
        raise ModelRefused(f"the model declined: {reply.refusal}", partial=reply)
