"""Numbers with their nouns, in texts for people."""


def counted(number: int, noun: str) -> str:
    """`1 key`, `2 keys`, `1,000 keys`: the noun takes an `s` for more than one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
