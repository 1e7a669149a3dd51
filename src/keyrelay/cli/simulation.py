"""`keyrelay simulator`, and `keyrelay demo`: the gateway, simulated providers and synthetic traffic in one process."""
