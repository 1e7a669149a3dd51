"""The command line: one module per group of commands.

Commands import what they need when they run, so that `keyrelay --help` comes at once. Data goes to stdout,
everything else to stderr.
"""
