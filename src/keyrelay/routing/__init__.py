"""Where a request goes: candidates and their order, what a failure means, what to do after it.

Pure: functions of (state, now, random source). Nothing here waits, sends or reads a clock.
"""
