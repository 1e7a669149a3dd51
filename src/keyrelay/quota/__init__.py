"""What a quota is and how it is counted: windows, reset calendars, the ledger's arithmetic.

Pure: `now` is an argument, no clock is read.
"""
