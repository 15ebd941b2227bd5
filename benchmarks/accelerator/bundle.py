"""What a machine with JAX and no network is missing, as wheels: collected here, unpacked there.

`make accelerator-bundle` collects the wheels for Python 3.12 on Linux, x86-64, in the versions of
`constraints/python3.12.txt`. There, those of packages that are not installed are unpacked: a wheel
is a zip file of what belongs on the path. Nothing but the standard library is used.
"""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent / "wheels"
CONSTRAINTS = ROOT / "constraints" / "python3.12.txt"

PACKAGES = (
    "absl-py", "cloudpickle", "jaxtyping", "joblib", "liger-kernel", "narwhals", "optax",
    "python-flint", "scikit-learn", "threadpoolctl", "wadler-lindig",
)  # fmt: skip
"""What the run imports, with what that needs, beyond JAX and its own NumPy and SciPy; and a peer of
the output layer, which takes part where PyTorch is."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64",
             "manylinux2014_x86_64")  # fmt: skip
MOST_BYTES = 40_000_000


def collect(folder: Path = FOLDER, packages: Sequence[str] = PACKAGES) -> list[Path]:
    """Download the wheels into a folder, which is emptied of others first; what is there then.

    Raises ValueError if they are larger than 40 MB together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp",
        *(part for platform in PLATFORMS for part in ("--platform", platform)),
        "--constraint", str(CONSTRAINTS), "--dest", str(folder), *packages,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    wheels = sorted(folder.glob("*.whl"))
    size = total_bytes(wheels)
    if size > MOST_BYTES:
        raise ValueError(f"the wheels have {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}")
    return wheels


def total_bytes(wheels: Sequence[Path]) -> int:
    """Of all files together."""
    return sum(wheel.stat().st_size for wheel in wheels)


def name_and_version(wheel: Path) -> tuple[str, str]:
    """As the name of the file has them.

    >>> name_and_version(Path("python_flint-0.9.0-cp310-abi3-manylinux2014_x86_64.whl"))
    ('python-flint', '0.9.0')
    """
    name, number = wheel.name.split("-")[:2]
    return name.replace("_", "-").lower(), number


def is_installed(name: str) -> bool:
    """Whether a package can be found on the path, in any version."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def unpack_missing(folder: Path, into: Path) -> dict[str, str]:
    """Unpack the wheels of what is not installed, and put it last on the path; its versions.

    No folder, no wheels: then nothing is unpacked.
    """
    unpacked = {}
    for wheel in sorted(folder.glob("*.whl")):
        name, number = name_and_version(wheel)
        if not is_installed(name):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(into)
            unpacked[name] = number
    if unpacked and str(into) not in sys.path:
        sys.path.append(str(into))
    return unpacked


def main() -> None:
    """Collect, and say what there is."""
    wheels = collect()
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 1e6:6.2f} MB  {wheel.name}")
    print(f"{total_bytes(wheels) / 1e6:6.2f} MB in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
