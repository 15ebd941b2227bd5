"""What was measured on: the device, its cores, and the versions of what ran."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

PACKAGES = (
    "jax", "jaxlib", "numpy", "optax", "scikit-learn", "torch", "glum", "numba",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Kind and number of devices, cores, XLA's flags, Python and the packages that took part."""
    device = jax.devices()[0]
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "platform": device.platform,
        "device": name_of(device),
        "devices": jax.device_count(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
    }


def name_of(device: Any) -> str:
    """What the device is called; a CPU by its model, where the system tells."""
    if device.platform != "cpu":
        return str(device.device_kind)
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def slug(data: dict[str, Any]) -> str:
    """The facts as a name for a folder, such as 'cpu-amd-epyc-2-cores'."""
    size = f"{data['cores']} cores" if data["platform"] == "cpu" else str(data["devices"])
    words = f"{data['platform']} {data['device']} {size}"
    return "-".join("".join(c if c.isalnum() else " " for c in words.lower()).split())
