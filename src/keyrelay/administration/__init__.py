"""What people administer: how it is changed, kept, and taken into the configuration in force.

Every change goes through `Administration.change`: a pure function makes the new state of the old one, the whole
configuration is read with it, and only what is valid is written, in one transaction with its line in the audit log.
"""
