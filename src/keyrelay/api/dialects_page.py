"""The generated part of docs/dialects.md: what is said there of each dialect is what stands in its package.

python -m keyrelay.api.dialects_page docs/dialects.md
"""

import inspect
import sys
from pathlib import Path
from types import ModuleType

from keyrelay.configuration.page import replaced
from keyrelay.wire import anthropic, chat, cohere, gemini, ollama, responses

_PACKAGES: tuple[tuple[str, ModuleType], ...] = (
    ("OpenAI", chat),
    ("Responses", responses),
    ("Anthropic", anthropic),
    ("Gemini", gemini),
    ("Ollama", ollama),
    ("Cohere", cohere),
)


def renewed(text: str) -> str:
    """The page with the rules brought up to date. Raise ValueError when a marker is missing."""
    sections = (f"\n### {name}\n\n{inspect.getdoc(package)}\n" for name, package in _PACKAGES)
    return replaced(text, "rules", "".join(sections) + "\n")


def main(arguments: list[str]) -> None:
    """Bring the pages named up to date."""
    for path in map(Path, arguments):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
