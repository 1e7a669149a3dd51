"""Deterministic English for the simulated answers, already cut into tokens.

The corpus is written once per seed; an answer is a run of whole sentences out of it, so that even thousands of
answers per second cost next to nothing.
"""

import bisect
import math
import random
from typing import Any

_SENTENCES = 700
_CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 258

_OPENINGS = (
    "In practice,", "As a rule,", "First of all,", "On a second look,", "For most teams,", "Surprisingly,",
    "At that point,", "Put differently,", "In the long run,", "Before anything else,", "Even so,", "By contrast,",
)  # fmt: skip
_SUBJECTS = (
    "the harbour master", "a careful gardener", "the night train", "our small library", "an old lighthouse keeper",
    "the city council", "a patient teacher", "the repair crew", "every new visitor", "the weather station",
    "a travelling musician", "the village bakery", "the research group", "a quiet neighbour", "the ferry company",
    "an attentive reader", "the museum's archivist", "the orchestra", "a young engineer", "the mountain guide",
)  # fmt: skip
_VERBS = (
    "keeps a record of", "rarely questions", "depends on", "gradually improves", "has to explain", "prefers",
    "compares", "carefully restores", "learns from", "quietly replaces", "measures", "describes", "looks after",
    "remembers", "returns to", "writes about", "plans around", "shares",
)  # fmt: skip
_OBJECTS = (
    "the morning schedule", "an unfinished map", "the colour of the water", "seven different clocks",
    "the long way home", "a borrowed telescope", "the price of bread", "last year's measurements",
    "the sound of the bells", "a list of open questions", "the shortest route", "two competing ideas",
    "the garden wall", "an older recipe", "the first frost", "a drawer full of letters", "the evening tide",
    "the simplest explanation", "a well-worn notebook", "the missing pages",
)  # fmt: skip
_ENDINGS = (
    "because nobody else has the time", "when the wind turns north", "without making a fuss", "since the bridge closed",
    "although the reasons have changed", "and checks the result twice", "until the last guest has left",
    "in spite of the rain", "so that mistakes show early", "while the others are asleep", "with some hesitation",
    "for reasons that are easy to follow", "before the market opens", "as long as the light lasts",
)  # fmt: skip


class Corpus:
    """Sentences of one seed as one list of tokens, each a word with the space before it."""

    def __init__(self, seed: int) -> None:
        source = random.Random(seed)  # noqa: S311 - varied text, no secret
        self._tokens: list[str] = []
        self._starts: list[int] = []
        for _ in range(_SENTENCES):
            self._starts.append(len(self._tokens))
            self._tokens += cut_words(_sentence(source))
        self._starts.append(len(self._tokens))

    def sentences(self, number: int, at_least: int) -> list[str]:
        """Whole sentences, chosen by `number`, of at least that many tokens."""
        return self.exactly(number, self._until_sentence_end(number, at_least))

    def exactly(self, number: int, count: int) -> list[str]:
        """Just so many tokens, chosen by `number`, with the last sentence cut short if it must be."""
        if count <= 0:
            return []
        start = self._starts[number % _SENTENCES]
        tokens = self._tokens[start : start + count]
        while len(tokens) < count:
            tokens += self._tokens[: count - len(tokens)]
        tokens[0] = tokens[0].lstrip()
        return tokens

    def _until_sentence_end(self, number: int, at_least: int) -> int:
        start = self._starts[number % _SENTENCES]
        rounds, within = divmod(start + at_least, len(self._tokens))
        end = self._starts[bisect.bisect_left(self._starts, within)]
        return rounds * len(self._tokens) + end - start


def _sentence(source: random.Random) -> str:
    subject, verb, thing = source.choice(_SUBJECTS), source.choice(_VERBS), source.choice(_OBJECTS)
    text = f"{subject} {verb} {thing}"
    if source.random() < 0.6:  # noqa: PLR2004 - more than half of the sentences have a second half
        text += f" {source.choice(_ENDINGS)}"
    if source.random() < 0.3:  # noqa: PLR2004 - now and then a sentence opens with a phrase
        text = f"{source.choice(_OPENINGS)} {text}"
    return f"{text[0].upper()}{text[1:]}."


def cut_words(text: str) -> list[str]:
    """Words, each with the space before it, the first one too."""
    return [f" {word}" for word in text.split()]


def cut_characters(text: str) -> list[str]:
    """Pieces of a token's usual length, for JSON and other text that words do not divide."""
    return [text[at : at + _CHARACTERS_PER_TOKEN] for at in range(0, len(text), _CHARACTERS_PER_TOKEN)]


def count_text(text: str) -> int:
    """Tokens of a text by the usual rule of thumb: four characters each, rounded up."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def text_of(content: Any) -> str:
    """The text of a message's content, whether it is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def count_messages(messages: list[Any]) -> int:
    """Prompt tokens of a conversation: its text, four for each message, and a fixed price for each image."""
    tokens = 0
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        tokens += TOKENS_PER_MESSAGE + count_text(text_of(content))
        if isinstance(content, list):
            images = sum(isinstance(part, dict) and part.get("type") == "image_url" for part in content)
            tokens += images * TOKENS_PER_IMAGE
    return tokens
