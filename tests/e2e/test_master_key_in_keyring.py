"""The real command with the master key in the operating system's keyring, which a backend of the library stands for."""

import os
from pathlib import Path

from tests.e2e.harness import process
from tests.vault.keyrings import FileKeyring

ROOT = Path(__file__).parents[2]


async def test_the_keyring_is_all_that_a_start_needs_and_without_it_there_is_none(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path / "keyring.json")
    environ = {
        "CLIENT_API_KEYS_MAP": "0f1e2d3c4b5a69788796a5b4c3d2e1f0:App",
        "KEYRELAY_KEEP_TEXTS": "all",
        "KEYRELAY_MASTER_KEY_SOURCE": "keyring",
        "KEYRELAY_PORT": "0",
        "KEYRING_PROPERTY_FILE": keyring.file,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
        "PYTHON_KEYRING_BACKEND": "tests.vault.keyrings.FileKeyring",
    }
    async with process(environ, tmp_path) as gateway:
        (made,) = keyring.entries.items()
        assert await gateway.stop() == 0
    headless = {**environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    async with process(headless, tmp_path, ready=False) as refused:
        assert await refused.ended() == 2
        assert "KEYRELAY_MASTER_KEY_SOURCE: no keyring of the operating system is in reach" in refused.log()
        assert "start Keyrelay in a session that has one, or keep the master key elsewhere" in refused.log()
    async with process(environ, tmp_path) as gateway:
        assert await gateway.stop() == 0
        said = gateway.log()
    assert list(keyring.entries.items()) == [made]
    assert made[1] not in said
    data = tmp_path / ".local/share/keyrelay"
    assert (data / "keyrelay.db").exists()
    assert not (data / "master.key").exists()
