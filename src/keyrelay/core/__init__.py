"""The vocabulary: values and errors that every other package speaks.

Pure: the standard library and msgspec only, no clock, no I/O, nothing that changes after it is made.
"""
