"""What the gateway benchmark is made of: processes, servers, load, report."""
