"""Every exception that agentloop raises.

AgentLoopError
├── ToolDefinitionError        a function cannot become a tool
├── InvalidArguments           a call's arguments are not what the tool takes; the model reads why
├── ConfigurationError         what the developer asked for cannot be built
│   ├── ProviderError          a provider is unknown, or its key is missing
│   └── PluginError            a plugin is unknown, broken or wrongly configured
├── BadTranscript              messages that no model would accept
├── JournalError               what a run does cannot be written down, or what was written cannot be read
│   ├── RunLocked              somebody else goes on with the run right now
│   ├── JournalDamaged         the place where it is kept holds what nobody wrote
│   └── JournalMismatch        the run was written down by another format, another prompt or other tools
├── Denied                     a person said no to a step or a question of a flow
├── InDoubt                    a step of a flow was cut off, and nobody knows what it came to
├── StepFailed                 a tool that is a step of a flow failed
├── PlanOutdated               a tool is not what it was when its calls were planned
├── UndoFailed                 what undoes a call failed
├── RunUndone                  the run was undone, so it goes on no more
├── Drained                    the process was told to stop, and the run with it
├── LimitReached               the run spent all that it was allowed
└── ModelError                 the model could not be asked, or did not answer as it should
    ├── ModelConnectError      no connection
    ├── ModelTimeout           no answer in time
    ├── ModelHTTPError         an answer that says no
    │   ├── BadRequest         the request is refused (400, 404, 413, 422)
    │   │   └── ContextTooLong the transcript is longer than the model can read
    │   ├── AuthError          the key is missing or refused (401, 403)
    │   ├── QuotaExceeded      the account has nothing left to spend
    │   ├── RateLimited        too many requests, and the wait is too long
    │   └── ServerError        the server failed
    ├── BadReply               an answer that cannot be read
    │   ├── ReplyTooLarge      an answer over the size that is read
    │   └── EmptyReply         an answer that says nothing and calls nothing
    ├── StreamBroken           a stream that ended before the reply did
    ├── LengthLimit            the reply was cut by the token limit
    ├── ContentFiltered        the provider withheld the reply
    ├── ModelRefused           the model declined
    └── OutputInvalid          the final answer never took the form that was asked for
"""

from __future__ import annotations

from typing import Any


class AgentLoopError(Exception):
    """What every error of agentloop is."""

    result: Any = None
    """The `Result` up to the failure when a run raised this, else None. `Agent.resume(error.result)` goes on from it."""


class ToolDefinitionError(AgentLoopError):
    """A function cannot become a tool; raised where it is decorated."""


class InvalidArguments(AgentLoopError):
    """A call's arguments are not what the tool takes; the message is for the model."""


class ConfigurationError(AgentLoopError):
    """What the developer asked for cannot be built."""


class ProviderError(ConfigurationError):
    """A provider is unknown, or its key is missing."""


class PluginError(ConfigurationError):
    """A plugin is unknown, broken or wrongly configured."""


class BadTranscript(AgentLoopError):
    """Messages that no model would accept: an orphaned result, a call without one, a role out of place."""


class JournalError(AgentLoopError):
    """What a run does cannot be written down, or what was written cannot be read; the run stops before it does anything else."""


class RunLocked(JournalError):
    """Somebody else goes on with the run right now."""


class JournalDamaged(JournalError):
    """The place where runs are kept holds what nobody wrote; the message names where."""


class JournalMismatch(JournalError):
    """The run was written down by another format, another prompt or other tools; the message says what differs."""


class Drained(AgentLoopError):
    """The process was told to stop, and the run ended in good order; it can be resumed."""


class Denied(AgentLoopError):
    """A person said no."""


class InDoubt(AgentLoopError):
    """A step was begun and then cut off, and nobody knows what it came to."""


class StepFailed(AgentLoopError):
    """A tool that is a step of a flow failed; the message says how, as a model would read it."""


class UndoFailed(AgentLoopError):
    """An undo failed, or was cut off before, and nothing was undone after it; `agent.undo(run_id)` goes on with it."""

    def __init__(self, message: str, *, failed: Any, so_far: Any, left: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.failed = failed
        """The call that was to be undone."""
        self.so_far = so_far
        """The `Undone` as far as it came."""
        self.left = left
        """The calls that are to be undone after it, in this order."""


class RunUndone(AgentLoopError):
    """The run was undone, so it goes on no more."""

    def __init__(self, undone: Any) -> None:
        counts = [f"{len(undone.undone)} calls undone", f"{len(undone.stays)} stay", f"{len(undone.in_doubt)} in doubt"]
        why = f" ({undone.reason})" if undone.reason else ""
        super().__init__(f"the run {undone.run_id!r} was undone{why}: {', '.join(counts)}; begin another")
        self.undone = undone
        """The `Undone` that says what became of its calls."""


class PlanOutdated(AgentLoopError):
    """A tool is not what it was when its calls were planned; nothing was done."""

    def __init__(self, message: str, plan: Any) -> None:
        super().__init__(message)
        self.plan = plan
        """The same calls to the tools as they are now; those that are others now wait for a word again."""


class LimitReached(AgentLoopError):
    """The run spent all that it was allowed; `.result` can be resumed."""

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(message)
        self.limit = limit
        """Which field of `Limits` was reached."""


class ModelError(AgentLoopError):
    """The model could not be asked, or did not answer as it should."""

    retryable: bool = False
    """Whether asking again may help."""

    attempts: int = 1
    """How many requests were sent for this reply."""

    retry_after: float | None = None
    """Seconds the server asked us to wait."""

    partial: Any = None
    """The `Reply` as far as it came, or None."""

    def __init__(self, message: str, *, partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


class ModelConnectError(ModelError):
    """No connection: refused, unresolved, reset, or not trusted."""

    retryable = True

    def __init__(self, message: str, *, at_once: bool = False) -> None:
        super().__init__(message)
        self.at_once = at_once
        """Whether the first new attempt need not wait."""


class ModelTimeout(ModelError):
    """No answer in time."""

    retryable = True


class ModelHTTPError(ModelError):
    """The server's answer says no, by its status or by an error object in its body."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; None when the error came inside a stream."""
        self.code = code
        """The server's own word for the error."""
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body
        """The first 2,000 characters of the answer, keys masked."""


class BadRequest(ModelHTTPError):
    """The request is refused, and would be again."""


class ContextTooLong(BadRequest):
    """The transcript is longer than the model can read."""


class AuthError(ModelHTTPError):
    """The key is missing, unknown or not allowed to do this."""


class QuotaExceeded(ModelHTTPError):
    """The account has nothing left to spend."""


class RateLimited(ModelHTTPError):
    """Too many requests; `.retry_after` says how long to wait, where the server does."""

    retryable = True


class ServerError(ModelHTTPError):
    """The server failed."""

    retryable = True


class BadReply(ModelError):
    """An answer that cannot be read."""

    retryable = True


class ReplyTooLarge(BadReply):
    """An answer over the size that is read."""

    retryable = False


class EmptyReply(BadReply):
    """An answer that says nothing and calls nothing."""


class StreamBroken(ModelError):
    """A stream that ended before the reply did; `.partial` holds what had come."""

    retryable = True


class LengthLimit(ModelError):
    """The reply was cut by the token limit; `.partial` holds it."""


class ContentFiltered(ModelError):
    """The provider withheld the reply; `.partial` holds what it let through."""


class ModelRefused(ModelError):
    """The model declined; the message has its words."""


class OutputInvalid(ModelError):
    """The final answer never took the form that was asked for."""
