"""LangChain's integration of Google's Gemini API."""

from typing import Any

from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError

from tests.clients.programs import common
from tests.clients.programs.common import Target
from tests.clients.programs.langchain import Refusals, features


def make(target: Target, kind: str = "chat", *, thinking: bool = False, key: str = "") -> Any:
    return ChatGoogleGenerativeAI(
        model=target.model(kind),
        base_url=target.origin,
        google_api_key=key or target.key,
        max_retries=1,
        timeout=common.TIMEOUT_S,
        include_thoughts=True if thinking else None,
        thinking_budget=2048 if thinking else None,
    )


if __name__ == "__main__":
    error = ChatGoogleGenerativeAIError
    common.run(features(make, Refusals(error, error, error)))
