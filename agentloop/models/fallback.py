"""Another model when one fails for good, in the middle of a run too."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from agentloop.deltas import Delta, ShownDelta
from agentloop.errors import (
    AuthError,
    ConfigurationError,
    ModelConnectError,
    ModelError,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ServerError,
)
from agentloop.events import Notice, Switched
from agentloop.messages import Reply, Request
from agentloop.models import Hear, Model
from agentloop.models.providers import model as model_named

# These say something of the model or its server; others, of the one request that it could not answer.
_OUT_OF_ORDER = (AuthError, ModelConnectError, ModelTimeout, QuotaExceeded, RateLimited, ServerError)


class Fallback:
    """Asks the first model, and the next where one fails for good: `Agent(Fallback("anthropic:claude-sonnet-4-5", "openai:gpt-5"))`.

    Each model has tried again by itself before the next is asked. Once a piece of a reply was shown, its failure ends the run.
    """

    def __init__(self, *models: Model | str, rest: float = 60.0, clock: Callable[[], float] = monotonic) -> None:
        """Line the models up.

        Args:
            models: In the order in which they are asked.
            rest: For how many seconds a model is asked last whose server did not answer, or refused us.
            clock: Tells the time in seconds.

        Raises:
            ConfigurationError: There is none.
            ProviderError: A name names no provider.
        """
        if not models:
            raise ConfigurationError("a fallback needs at least one model; give it several, in the order in which they are asked")
        self._models = tuple(model_named(each) if isinstance(each, str) else each for each in models)
        self._rest = rest
        self._clock = clock
        self._tired: dict[int, float] = {}

    @property
    def name(self) -> str:
        """The names of all, in order."""
        return " or ".join(each.name for each in self._models)

    def __repr__(self) -> str:
        return f"<Fallback {self.name}>"

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Answer the request by the first model that can.

        Raises:
            ModelError: None can. It is the error of the last that was asked, and its cause the error of the one before.
        """
        heard = False

        async def tell(delta: Delta | Notice) -> None:
            nonlocal heard
            heard = heard or isinstance(delta, ShownDelta)
            await hear(delta)

        failure: ModelError | None = None
        for number in self._order():
            model = self._models[number]
            if failure is not None:
                await hear(Switched(failure, model.name))
            try:
                reply = await model.ask(request, tell)
            except ModelError as error:
                if isinstance(error, _OUT_OF_ORDER):
                    self._tired[number] = self._clock() + self._rest
                if heard:
                    raise
                error.__cause__ = error.__cause__ or failure
                failure = error
            except ConfigurationError as error:
                # Whoever mends it should know why this model was asked at all.
                error.__cause__ = error.__cause__ or failure
                raise
            else:
                self._tired.pop(number, None)
                return reply
        assert failure is not None, "there is at least one model"  # noqa: S101  # the constructor has seen to it
        raise failure

    def _order(self) -> list[int]:
        now = self._clock()
        return sorted(range(len(self._models)), key=lambda number: self._tired.get(number, 0.0) > now)
