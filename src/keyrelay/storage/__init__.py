"""Where state is kept: the ledger, and what else outlives a request. Adapters of `ports`."""
