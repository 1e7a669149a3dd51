"""Good JSON with something wrong in it, for tests of what reads foreign JSON."""

import json
from typing import Any

from hypothesis import strategies as st

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def spoiled(draw: st.DrawFn, value: object) -> bytes:
    """The bytes of a value of JSON in which one to three things were replaced, and sometimes the end cut off."""
    spoilt: Any = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        spoilt = _replaced(draw, spoilt)
    data = json.dumps(spoilt, ensure_ascii=draw(st.booleans())).encode()
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data


def _replaced(draw: st.DrawFn, value: Any) -> Any:
    places = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not places or draw(st.integers(0, 4)) == 0:
        return draw(JSON_VALUES)
    place = draw(st.sampled_from(places))
    value[place] = _replaced(draw, value[place])
    return value
