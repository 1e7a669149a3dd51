"""Providers of a running gateway as tables."""

from typing import Any

from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, document_of

PATH = "/api/v1/providers"


def print_running(gateway: Gateway, *, everything: bool, as_json: bool) -> None:
    """The providers of a running gateway, for `keyrelay providers list --running`."""
    document = document_of(gateway.get(PATH, {"all": "true" if everything else "false"}))
    if as_json:
        print_json(**document)
        return
    headers = ("provider", "state", "priority", "keys", "models", "default_model", "base_url")
    print_table(headers, map(row_of, document["items"]))
    for each in document["items"]:
        for warning in each["warnings"]:
            note(f"warning: {warning}")


def row_of(line: dict[str, Any]) -> tuple[str, ...]:
    """A provider as a row: id, state, priority, keys by their states, models, default model, address."""
    keys = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in line["keys"].items())
    return (
        line["id"],
        line["state"].replace("_", " "),
        str(line["priority"]),
        keys or "-",
        str(len(line["models"])),
        line["default_model"] or "-",
        line["base_url"],
    )


def running_models(gateway: Gateway, *, everything: bool) -> list[dict[str, Any]]:
    """The models of a running gateway's providers in use, or of all that there are, for `models list --running`."""
    document = document_of(gateway.get("/api/v1/providers", {"all": "true"} if everything else {}))
    return [
        {
            "model": f"{provider['id']}/{model['id']}",
            "provider": provider["id"],
            "context_tokens": model["context_tokens"] or None,
            "max_output_tokens": model["max_output_tokens"] or None,
            "input_usd_per_mtok": model["input_usd_per_mtok"],
            "output_usd_per_mtok": model["output_usd_per_mtok"],
            "capabilities": model["capabilities"],
        }
        for provider in document["items"]
        if everything or provider["state"] == "in_use"
        for model in provider["models"]
    ]
