"""The story of a request, over ports: choose, reserve, send, classify, recover, settle."""
