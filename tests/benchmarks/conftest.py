"""The scripts of the repository, run as `python -m benchmarks...` is, in this process."""

from typing import NamedTuple

import pytest

from handgrad.cli.app import run_script


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def script(capsys, monkeypatch):
    """script(notes, "--json", path) -> Ran(code, out, err); it never raises."""

    def run(command, *args):
        monkeypatch.setattr("sys.argv", [command.__name__, *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            run_script(command)
        return Ran(left.value.code or 0, *capsys.readouterr())

    return run
