"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Files of tests run beside each other, so how long an example takes says nothing about it.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
