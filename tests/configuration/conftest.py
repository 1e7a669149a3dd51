from collections.abc import Mapping
from pathlib import Path

import pytest

from keyrelay.configuration import Configuration, load_configuration
from keyrelay.configuration.environment import Environment, Layer
from keyrelay.configuration.findings import Findings
from tests.configuration.helpers import ROWS, Load, MakeEnvironment


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration in an empty directory, with keyword arguments as the environment."""

    def load(overrides: Mapping[str, str] | None = None, /, **environ: str) -> Configuration:
        catalogue = {row.id: row for row in ROWS}
        environ = {"HOME": str(tmp_path / "home"), **environ}
        return load_configuration(environ, directory=tmp_path, overrides=overrides or {}, catalogue=catalogue)

    return load


@pytest.fixture
def findings() -> Findings:
    return Findings()


@pytest.fixture
def environment(tmp_path: Path, findings: Findings) -> MakeEnvironment:
    """An environment of one layer."""

    def make(**variables: str) -> Environment:
        return Environment((Layer("environment", variables),), directory=tmp_path, findings=findings)

    return make
