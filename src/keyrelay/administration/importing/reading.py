"""Which reader is for which format. This module loads them all, and what they need: it is imported when asked for."""

from collections.abc import Mapping

from keyrelay.administration.importing.env_file import read_env
from keyrelay.administration.importing.found import Found, ImportFile, Known
from keyrelay.administration.importing.litellm import read_litellm
from keyrelay.administration.importing.usage_file import read_usage


def read_file(file: ImportFile, known: Known, variables: Mapping[str, str], now_s: float) -> Found:
    """What a file holds. Never raises for what is in it."""
    if "\0" in file.text:
        found = Found(name=file.name)
        found.refuse("It is no text.")
        return found
    if file.kind == "env":
        return read_env(file.name, file.text, known)
    if file.kind == "usage":
        return read_usage(file.name, file.text, known, now_s)
    return read_litellm(file.name, file.text, known, variables)
