"""Taking over what another system was configured with: one reader per format, one way into what is administered.

A reader takes text and gives values. It never refuses a text for one line of it: what cannot be taken over is named,
with the reason, and never with its value.
"""
