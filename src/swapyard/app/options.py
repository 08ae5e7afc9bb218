"""What the command line says, checked."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path


class OptionError(Exception):
    """Something on the command line cannot be used; the text says what and why in one sentence."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it: a loopback address, or a name with no other addresses."""
        if not self.host:
            return False
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Options:
    """Paths are as given: relative to the working directory."""

    config: Path | None
    config_dir: Path | None
    listen: Address
    certificate: Path | None = None
    key: Path | None = None
    watch: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"


def parse_address(text: str) -> Address:
    """`host:port`, `:port` for every address, `[v6]:port`; OptionError otherwise."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise OptionError(f"cannot listen on {text!r}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise OptionError(f"cannot listen on {text!r}: an IPv6 address needs brackets, as in [::1]:8080")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise OptionError(f"cannot listen on {text!r}: invalid port {port!r}, it goes from 0 to 65535")
    return Address(host, int(port))


def state_directory() -> Path:
    """Where the program keeps what must survive it.  Source: XDG base directory specification."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "swapyard"
