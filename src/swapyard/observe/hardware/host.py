"""The machine without its accelerators: architecture, system, environment, processors, memory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from swapyard.observe.hardware.accelerators import fact

_ARCHITECTURES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "arm64": "arm64",
    "aarch64": "arm64",
    "armv7": "armv7",
    "armv7l": "armv7",
    "arm": "armv7",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
_FAMILIES = {"linux": "linux", "darwin": "macos", "win32": "windows", "freebsd": "freebsd"}

# Source: ARM architecture reference manual, MIDR_EL1.Implementer, and the vendors' own assignments.
_ARM_IMPLEMENTERS = {
    "0x41": "ARM",
    "0x42": "Broadcom",
    "0x43": "Cavium",
    "0x46": "Fujitsu",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x50": "APM",
    "0x51": "Qualcomm",
    "0x53": "Samsung",
    "0x56": "Marvell",
    "0x61": "Apple",
    "0x69": "Intel",
    "0xc0": "Ampere",
}

_CONTAINERS = {"docker", "lxc", "lxc-libvirt", "rkt", "podman", "containerd", "systemd-nspawn"}
_DISPLAY_NAMES = {
    "docker": "Docker",
    "kvm": "KVM",
    "vmware": "VMware",
    "vbox": "VirtualBox",
    "oracle": "VirtualBox",
    "hyperv": "Hyper-V",
    "microsoft": "Hyper-V",
    "lxc": "LXC",
}


def architecture() -> dict[str, Any]:
    """The processor architecture; `raw_name` is the platform's own word where it is another."""
    raw = platform.machine()
    name = _ARCHITECTURES.get(raw.lower(), "other")
    return {"name": name, "raw_name": raw or "unknown" if name != raw else None}


def operating_system(root: Path = Path("/")) -> dict[str, Any]:
    family = next((name for prefix, name in _FAMILIES.items() if sys.platform.startswith(prefix)), "other")
    name, version = _release(root, family)
    found = {
        "family": family,
        "name": fact(name),
        "version": fact(version),
        "kernel": fact(platform.release()),
    }
    return {**found, "raw_family": sys.platform} if family == "other" else found


def _release(root: Path, family: str) -> tuple[str, str]:
    if family == "macos":
        return "macOS", platform.mac_ver()[0]
    if family == "windows":
        return "Windows", platform.version()
    facts = {}
    for line in _read(root / "etc/os-release").splitlines():
        key, _, value = line.partition("=")
        facts[key] = value.strip("\"'")
    # Debian's own file knows the point release, which the common one leaves out.
    debian = _read(root / "etc/debian_version").strip() if facts.get("ID") == "debian" else ""
    return facts.get("ID", ""), debian or facts.get("VERSION_ID", "")


def cpu(root: Path = Path("/")) -> dict[str, Any]:
    """Vendor and model as the kernel tells them, and how many of everything."""
    import psutil

    facts = _cpu_facts(_read(root / "proc/cpuinfo"))
    threads = psutil.cpu_count() or None
    cores = psutil.cpu_count(logical=False) or None
    if sys.platform == "darwin":
        facts = _apple_cpu()
    return {
        "vendor": fact(facts.get("vendor")),
        "model": fact(facts.get("model")),
        "socket_count": int(facts["sockets"]) if facts.get("sockets", "0") != "0" else None,
        # A container may be allowed fewer threads than the machine has cores.
        "physical_core_count": None if cores and threads and cores > threads else cores,
        "logical_thread_count": threads,
    }


def _cpu_facts(cpuinfo: str) -> dict[str, str]:
    first: dict[str, str] = {}
    sockets = set()
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if value:
            first.setdefault(key, value)
        if key == "physical id":
            sockets.add(value)
    implementer = first.get("CPU implementer", "")
    return {
        "vendor": first.get("vendor_id", "") or _ARM_IMPLEMENTERS.get(implementer.lower(), ""),
        "model": first.get("model name", "") or first.get("Model", "") or first.get("cpu", ""),
        "sockets": str(len(sockets)),
    }


def _apple_cpu() -> dict[str, str]:
    model = _printed("sysctl", "-n", "machdep.cpu.brand_string")[1].strip()
    vendor = "Apple" if model.startswith("Apple ") else "GenuineIntel" if "Intel" in model else ""
    return {"vendor": vendor, "model": model, "sockets": "1"}


def memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of main memory that this machine, or the control group around us, has.

    Raises OSError or ValueError when not even that can be read.
    """
    if sys.platform != "linux":
        import psutil

        return int(psutil.virtual_memory().total)
    total = 0
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    # The kernel does not count what it took for itself at boot; the zones still have it.
    total = max(total, zone_bytes(_read(root / "proc/zoneinfo"), os.sysconf("SC_PAGE_SIZE")))
    total = limited(total, [_read(root / "sys/fs/cgroup" / name) for name in _LIMITS])
    if total <= 0:
        raise ValueError("the size of the memory is unknown")
    return total


_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def zone_bytes(zoneinfo: str, page_bytes: int) -> int:
    """Bytes present in all memory zones but those of devices; 0 when the text cannot be understood."""
    pages = 0
    zone = ""
    for line in zoneinfo.splitlines():
        words = line.replace(",", " ").split()
        if len(words) == 4 and words[0] == "Node" and words[2] == "zone":
            zone = words[3]
        elif words[:1] == ["present"] and zone != "Device":
            if not zone or len(words) != 2 or not words[1].isdecimal():
                return 0
            pages += int(words[1])
    return pages * page_bytes


def limited(total: int, limits: list[str]) -> int:
    """The smallest positive limit, if it is below the total; other texts say nothing."""
    numbers = [int(text) for text in (limit.strip() for limit in limits) if re.fullmatch("[0-9]+", text)]
    return min([total, *(number for number in numbers if number > 0)])


def environment(root: Path = Path("/")) -> dict[str, Any]:
    """Whether we run on the machine itself, in a virtual one, or in a container."""
    kind, name = _environment(root)
    return {"kind": kind, "name": name, "version": None}


def _environment(root: Path) -> tuple[str, str | None]:
    if sys.platform == "darwin":
        guest = _printed("sysctl", "-n", "kern.hv_vmm_present")[1].strip()
        return {"1": "virtual_machine", "0": "native"}.get(guest, "unknown"), None
    if sys.platform != "linux":
        return "unknown", None
    release = platform.release().lower()
    if "microsoft" in release or "wsl" in release:
        return "wsl", "WSL"
    name, role = virtualization(root)
    if role == "guest" and name:
        return _guest(name)
    if role == "host":
        return "native", None
    if (root / ".dockerenv").exists():
        return "container", "Docker"
    status, printed = _printed("systemd-detect-virt")
    if status == 0 and printed.strip() not in ("", "none"):
        return _guest(printed.strip())
    if role == "guest":
        return "virtual_machine", None
    return ("native" if status == 1 else "unknown"), None


def _guest(name: str) -> tuple[str, str | None]:
    kind = "container" if name in _CONTAINERS else "virtual_machine"
    return kind, _DISPLAY_NAMES.get(name, name)


def virtualization(root: Path) -> tuple[str, str]:
    """Which virtualisation the files of the system show, and whether we are its `guest` or its `host`.

    Both are "" where nothing shows; the name alone is where somebody is our host and does not say who.
    Later evidence counts more: a container on a virtual machine is a container.
    """
    name, role = "", ""
    if (root / "proc/xen").exists():
        host = "control_d" in _read(root / "proc/xen/capabilities")
        name, role = "xen", "host" if host else "guest"
    modules = _read(root / "proc/modules")
    for module, system, part in _MODULES:
        if re.search(rf"^{module}\b", modules, re.MULTILINE):
            name, role = system, part
            break
    if re.search(r"QEMU Virtual CPU|Common (32-bit )?KVM processor", _read(root / "proc/cpuinfo")):
        name, role = "kvm", "guest"
    if "virtio-pci" in _read(root / "proc/bus/pci/devices"):
        role = "guest"
    if (root / "proc/bc/0").exists():
        name, role = "openvz", "host"
    elif (root / "proc/vz").exists():
        name, role = "openvz", "guest"
    if re.search(r"^(s_context|VxID):\s*[1-9]", _read(root / "proc/self/status"), re.MULTILINE):
        name, role = "linux-vserver", "guest"
    if "container=lxc" in _read(root / "proc/1/environ"):
        name, role = "lxc", "guest"
    groups = _read(root / "proc/self/cgroup")
    for word, system in (("lxc", "lxc"), ("docker", "docker"), ("machine-rkt", "rkt")):
        if word in groups:
            return system, "guest"
    return ("docker", "guest") if (root / ".dockerenv").exists() else (name, role)


_MODULES = (
    ("kvm", "kvm", "host"),
    ("hv_util", "hyperv", "guest"),
    ("vboxdrv", "vbox", "host"),
    ("vboxguest", "vbox", "guest"),
    ("vmware", "vmware", "guest"),
)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _printed(*command: str) -> tuple[int, str]:
    """Exit status and output of a command; status -1 when it is not there or does not answer."""
    path = shutil.which(command[0])
    if path is None:
        return -1, ""
    try:
        done = subprocess.run([path, *command[1:]], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return -1, ""
    return done.returncode, done.stdout.decode("utf-8", "replace")
