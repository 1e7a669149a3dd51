"""The HTTP surface: the data plane (pure ASGI) and the control plane (FastAPI)."""
