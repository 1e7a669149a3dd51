"""Adapters towards the providers: their catalogue and the HTTP transport."""
