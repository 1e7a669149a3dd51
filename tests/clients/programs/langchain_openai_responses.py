"""LangChain's integration of OpenAI: responses, which it takes where it is told to."""

from typing import Any

import openai
from langchain_openai import ChatOpenAI

from tests.clients.programs import common
from tests.clients.programs.common import Target
from tests.clients.programs.langchain import Refusals, features


def make(target: Target, kind: str = "chat", *, thinking: bool = False, key: str = "") -> Any:
    return ChatOpenAI(
        model=target.model(kind),
        base_url=f"{target.origin}/v1",
        api_key=key or target.key,
        max_retries=0,
        timeout=common.TIMEOUT_S,
        use_responses_api=True,
        reasoning={"effort": "high", "summary": "auto"} if thinking else None,
    )


if __name__ == "__main__":
    refusals = Refusals(openai.AuthenticationError, openai.NotFoundError, openai.BadRequestError)
    common.run(features(make, refusals))
