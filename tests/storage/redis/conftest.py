from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module
