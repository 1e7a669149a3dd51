from pathlib import Path

import pytest

from tests.cli.helpers import Keyrelay


@pytest.fixture
def keyrelay(tmp_path: Path) -> Keyrelay:
    """Run the real command in an empty directory with an empty environment."""
    return Keyrelay(tmp_path)
