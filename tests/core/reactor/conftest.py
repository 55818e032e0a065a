"""What the reactor's tests need of their surroundings."""

import os

# In a sanitized build the library is preloaded into this process alone: the programs that tests start (curl, openssl) hang under it.
if os.environ.get("NOVA_VARIANT") in ("address", "thread"):
    os.environ.pop("LD_PRELOAD", None)
