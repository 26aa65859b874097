from __future__ import annotations

import inspect

import pytest

from agentloop import errors
from agentloop.cli.exits import ExitCode, exit_code
from agentloop.errors import AgentLoopError

CODES = {
    ExitCode.FAILED: {"AgentLoopError", "BadTranscript", "ContentFiltered", "InvalidArguments", "ModelRefused", "OutputInvalid"}
    | {"JournalError", "JournalDamaged", "JournalMismatch", "RunLocked", "StepFailed", "UndoFailed", "RunUndone", "PlanOutdated"},
    ExitCode.APPROVAL: {"Denied", "InDoubt"},
    ExitCode.STOPPED: {"Drained"},
    ExitCode.USAGE: {"ToolDefinitionError", "ConfigurationError", "ProviderError", "PluginError"},
    ExitCode.LIMIT: {"LimitReached", "LengthLimit"},
    ExitCode.PROVIDER: {
        "ModelError", "ModelConnectError", "ModelTimeout", "ModelHTTPError", "BadRequest", "ContextTooLong", "AuthError", "QuotaExceeded",
        "RateLimited", "ServerError", "BadReply", "ReplyTooLarge", "EmptyReply", "StreamBroken",
    },
}  # fmt: skip

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AgentLoopError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code(kind: type[AgentLoopError]):
    # Some take more than words; their class alone decides.
    error = kind.__new__(kind, "No.")
    error.limit = "tokens"

    assert [code for code, names in CODES.items() if kind.__name__ in names] == [exit_code(error)]
