"""Alerts, decided: from facts and what was known before to what is known now and what is to be told.

Pure: no I/O, no clock.
"""
