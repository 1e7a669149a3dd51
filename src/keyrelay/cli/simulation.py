"""`keyrelay simulator`, and `keyrelay demo`: the gateway, simulated providers and synthetic traffic in one process."""

import asyncio
from pathlib import Path

import msgspec

from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note
from keyrelay.cli.serving import curl_line, new_loop, serve
from keyrelay.configuration import Configuration, load_configuration, with_clients
from keyrelay.configuration.first_run import new_secret
from keyrelay.core.configuration import Client
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.secrets import Secret
from keyrelay.simulator.demo import demo_environment, demo_scenario
from keyrelay.simulator.scenario import Scenario, load_scenario
from keyrelay.simulator.server import Simulator
from keyrelay.simulator.server import run as serve_simulator
from keyrelay.simulator.traffic import TrafficSettings, generate_traffic
from keyrelay.upstream.catalogue import load_catalogue
