"""LangChain's integration of Anthropic."""

from typing import Any

import anthropic
from langchain_anthropic import ChatAnthropic

from tests.clients.programs import common
from tests.clients.programs.common import Target
from tests.clients.programs.langchain import Refusals, features


def make(target: Target, kind: str = "chat", *, thinking: bool = False, key: str = "") -> Any:
    return ChatAnthropic(
        model=target.model(kind),
        base_url=target.origin,
        api_key=key or target.key,
        max_tokens=common.MOST_TOKENS,
        max_retries=0,
        timeout=common.TIMEOUT_S,
        thinking={"type": "enabled", "budget_tokens": 2048} if thinking else None,
    )


if __name__ == "__main__":
    refusals = Refusals(anthropic.AuthenticationError, anthropic.NotFoundError, anthropic.BadRequestError)
    common.run(features(make, refusals))
