"""What every test shares: how hard the property tests try.

`make test` runs each property on a fixed set of examples, so that a red run is red again; `make test-all` looks
for new ones.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("fixed", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("searching", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
