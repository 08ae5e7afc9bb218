"""What this machine is made of: one snapshot of facts that do not change while the program runs."""

from swapyard.observe.hardware.snapshot import detect

__all__ = ["detect"]
