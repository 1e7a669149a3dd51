"""How the tables came to be what they are: a step each in `versions`, applied by `storage.migrating`.

A step is never changed once it has been released; it names tables and columns as they were then.
"""
