"""The routes under `/api/v1` by which people administer Keyrelay. A module a subject; each declares its policies."""
