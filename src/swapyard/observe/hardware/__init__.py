"""What this machine is made of: one snapshot of facts that do not change while the program runs."""

from swapyard.observe.hardware.snapshot import detect
from swapyard.observe.hardware.tools import Tools

__all__ = ["Tools", "detect"]
