"""Encryption of what is kept: provider keys and, where that is switched on, prompts and answers.

Values are sealed under data keys, of which a ring has one for each *term*; the master key, which is kept apart from the
store, wraps those. So a new master key costs one row, and a new term takes in the values at its own pace.

This is the one package that loads `cryptography`, some 9 MB of memory: it is imported where something is sealed.
"""
