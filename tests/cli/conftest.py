"""The command, run as `handgrad ...` is: exit code, standard output, standard error."""

from typing import NamedTuple

import pytest

from handgrad.cli import main

FRUIT = """\
weight,length,skin,ripe,fruit
150,7.1,smooth,true,apple
162,7.4,smooth,true,apple
171,7.9,smooth,false,apple
139,6.8,smooth,true,apple
158,7.2,smooth,false,apple
145,7.0,smooth,true,apple
166,7.6,smooth,true,apple
152,7.3,smooth,false,apple
118,18.2,smooth,true,banana
125,19.5,smooth,true,banana
109,17.1,smooth,false,banana
131,20.3,smooth,true,banana
121,18.8,smooth,true,banana
115,17.7,smooth,false,banana
128,19.9,smooth,true,banana
112,17.4,smooth,true,banana
75,5.9,furry,true,kiwi
82,6.3,furry,false,kiwi
69,5.5,furry,true,kiwi
78,6.1,furry,true,kiwi
88,6.6,furry,true,kiwi
71,5.7,furry,false,kiwi
80,6.2,furry,true,kiwi
73,5.8,furry,true,kiwi
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys, monkeypatch):
    """command("train", "iris") -> Ran(code, out, err), in this process; it never raises."""

    def run(*args):
        monkeypatch.setattr("sys.argv", ["handgrad", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return Ran(left.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def fruit(tmp_path):
    """A file of a user's own, with names for labels and for one feature."""
    path = tmp_path / "fruit.csv"
    path.write_text(FRUIT)
    return path
