"""Keyrelay: one endpoint in front of every AI API key that a person or a team owns."""

__version__ = "0.1.0"
