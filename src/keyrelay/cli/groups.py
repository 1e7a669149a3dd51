"""Groups of commands, whose help shows examples as that of a command does."""

import typer


def group(about: str, short: str, *examples: str) -> typer.Typer:
    """A group: what it is about as a sentence, the same for the list of commands, and commands of it to begin with."""
    shown = "\n".join(f"  {example}" for example in examples)
    return typer.Typer(help=f"{about}\n\n\b\nExamples:\n{shown}", short_help=short, no_args_is_help=True)
