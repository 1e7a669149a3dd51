from pathlib import Path

import keyrelay
from keyrelay.core.compiled import is_compiled


def test_a_package_is_compiled_where_it_lies_beside_what_was_made_of_it() -> None:
    package = Path(keyrelay.__file__).parent
    assert is_compiled() == bool(list(package.glob("core/ids.*.so")))
