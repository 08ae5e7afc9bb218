"""Begins to load, says what is wrong, and exits with status 3."""

import sys

print("loading 512 layers", flush=True)
print("error: cannot allocate 40 GiB", flush=True)
sys.exit(3)
