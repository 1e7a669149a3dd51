"""The demo: four simulated providers with different paces and bad moments, and the environment to use them."""

from keyrelay.simulator.scenario import KeyPlan, Latency, ProviderPlan, Scenario

DEMO_PROVIDERS = ("gemini", "groq", "mistral", "ollama")

_GEMINI = ProviderPlan(
    keys={
        "sim-gemini-a": KeyPlan(label="personal"),
        "sim-gemini-b": KeyPlan(label="work"),
        "sim-gemini-c": KeyPlan(label="spare"),
        "sim-gemini-d": KeyPlan(label="used-up", state="exhausted_day"),
    },
    latency=Latency(first_token_ms=(250, 700), tokens_per_s=120),
    faults={"503": 0.02, "429": 0.01},
    accept_unknown_keys=False,
)
_GROQ = ProviderPlan(
    keys={"sim-groq-a": KeyPlan(label="groq-main"), "sim-groq-b": KeyPlan(label="groq-second")},
    latency=Latency(first_token_ms=(40, 120), tokens_per_s=450),
    faults={"429:3": 0.01, "rst_before_head": 0.01},
    accept_unknown_keys=False,
)
_MISTRAL = ProviderPlan(
    keys={"sim-mistral-a": KeyPlan(label="mistral-main")},
    latency=Latency(first_token_ms=(180, 500), tokens_per_s=90),
    faults={"500": 0.02},
    accept_unknown_keys=False,
)
_OLLAMA = ProviderPlan(
    models=("llama3.2", "qwen3"),
    latency=Latency(first_token_ms=(500, 1500), tokens_per_s=25),
)


def demo_scenario(seed: int = 7) -> Scenario:
    """Gemini with four keys, one of them used up, Groq with two, Mistral with one, and a local Ollama.

    Quotas are those of the catalogue's rows, so that a gateway with the same catalogue need not learn them. Faults
    are rare and come before the first byte, so that who tries it out sees failover and no broken answer.
    """
    plans = {"gemini": _GEMINI, "groq": _GROQ, "mistral": _MISTRAL, "ollama": _OLLAMA}
    return Scenario(seed=seed, providers=plans)


def demo_environment(simulator_port: int) -> dict[str, str]:
    """The environment that configures a gateway for the demo's providers on this port of the loopback."""
    origin = f"http://127.0.0.1:{simulator_port}"
    paths = {"gemini": "", "groq": "/openai/v1", "mistral": "/v1", "ollama": ""}
    environment = {f"{name.upper()}_BASE_URL": f"{origin}/{name}{path}" for name, path in paths.items()}
    for name, plan in demo_scenario().providers.items():
        listed = [f"{key.label}={secret}" for secret, key in plan.keys.items() if isinstance(key, KeyPlan)]
        if listed:
            environment[f"{name.upper()}_API_KEYS"] = ",".join(listed)
    return {**environment, "OLLAMA_ENABLED": "true", "OLLAMA_MODELS": "llama3.2,qwen3"}
