"""What Claude models take and refuse, by their names; the facts are those of platform.claude.com in November 2026."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from agentloop.messages import Effort

_FAMILY = re.compile(r"claude.*?(fable|haiku|mythos|opus|sonnet)|claude")
# A date has eight digits, and what stands behind a letter ("v1:0") counts a platform's revisions.
_NUMBER = re.compile(r"(?<=[-.])\d{1,2}(?!\d)")
_ALWAYS_THINK = ("fable", "mythos")


@dataclass(frozen=True, slots=True)
class ClaudeModel:
    """A Claude model, or, of no family and version 0.0, any other model that is spoken to alike."""

    family: str
    version: tuple[int, int]

    @property
    def most_tokens(self) -> int:
        """How long a reply may be where nobody says: what the model can write, or what nobody should wait for."""
        if not self.version[0]:
            # vLLM refuses a request that together with the longest reply exceeds the model's context.
            return 32_000 if self.family else 8_192
        return 4_096 if self.version < (3, 5) else 8_192 if self.version < (3, 7) else 32_000

    @property
    def most_thinking(self) -> int:
        """How many tokens may be added to these for thinking."""
        return 0 if self.family == "opus" and self.version < (4, 5) else 32_000

    @property
    def thinks(self) -> bool:
        """Whether it can be told to think."""
        return not self.version[0] or self.version >= (3, 7)

    @property
    def thinks_adaptively(self) -> bool:
        """Whether it is told how hard to think, rather than how many tokens it may take."""
        return self.version >= (4, 6)

    @property
    def always_thinks(self) -> bool:
        """Whether it refuses to leave thinking."""
        return self.family in _ALWAYS_THINK or (self.family == "opus" and self.version >= (5, 5))

    @property
    def thinks_between_tools(self) -> bool:
        """Whether the least thinking it takes is that between calls."""
        return self.family == "sonnet" and self.version >= (5, 5)

    def nearest(self, effort: Effort) -> str:
        """Choose the effort that it knows: none is as little as it has, and "xhigh" came with 4.7."""
        match effort:
            case "none" | "minimal":
                return "low"
            case "xhigh" if self.version < (4, 7):
                return "high"
            case _:
                return effort

    @property
    def takes_sampling(self) -> bool:
        """Whether temperature and the like may be set."""
        return self.version < (4, 7)

    @property
    def takes_one_sampling(self) -> bool:
        """Whether it takes a temperature or a top_p, and refuses both together."""
        return self.version >= (4, 1)

    @property
    def can_be_forced(self) -> bool:
        """Whether it can be made to call a tool."""
        return self.family == "haiku" or not self.binds_thinking

    @property
    def binds_thinking(self) -> bool:
        """Whether it refuses its own thinking under other instructions, tools or messages than those it was thought under."""
        return self.version >= ((5, 1) if self.family in _ALWAYS_THINK else (5, 5))

    @property
    def answers_in_form(self) -> bool:
        """Whether it can be held to a form, in its answer and in the arguments of its calls."""
        return self.version >= (4, 5)


@lru_cache
def claude_model(name: str) -> ClaudeModel:
    """Tell by the name what kind of model it is, whatever a platform writes around it."""
    found = _FAMILY.search(name.lower())
    if found is None:
        return ClaudeModel("", (0, 0))
    family = found.group(1) or ""
    numbers = [int(number) for number in _NUMBER.findall(name.lower()[found.start() :])]
    if not numbers:
        # claude-mythos-preview came between 4.6 and 5.
        return ClaudeModel(family, (5, 0) if family in _ALWAYS_THINK else (0, 0))
    return ClaudeModel(family, (numbers[0], numbers[1] if len(numbers) > 1 else 0))
