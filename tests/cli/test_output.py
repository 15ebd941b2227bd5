"""Files are written whole or not at all, and hold what JSON can hold."""

import json
import os

import pytest

from handgrad.cli import output
from handgrad.cli.output import check_writable, printable, ulps, write_json, write_whole
from handgrad.errors import InputError


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "out.json"
    write_json(path, {"σ": float("nan"), "list": (1.5, float("inf")), 3: True, "none": None})
    assert json.loads(path.read_text()) == {
        "σ": None, "list": [1.5, None], "3": True, "none": None,
    }  # fmt: skip
    assert "σ" in path.read_text()
    assert path.read_text().endswith("}\n")


def test_an_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == "old"
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_disk_that_refuses(tmp_path):
    """The folder is there when the command starts, and gone when it has worked."""
    path = tmp_path / "gone" / "out.json"
    with pytest.raises(InputError, match=r"output: expected a file that can be written at .*gone"):
        write_whole(path, b"content")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0"), (17.84, "17.8"), (1234.5, "1,234"), (2.5e7, "2.5e+07"), (float("inf"), "inf")],
)
def test_ulps(value, text):
    assert ulps(value) == text


def test_prose_is_not_broken_where_nobody_asked(capsys):
    output.print("word " * 40)
    assert capsys.readouterr().out.count("\n") == 1


def test_no_other_file_is_written_to(tmp_path):
    """Not one that happens to be called `.part`, and not one that a link leads to."""
    for name in ("out.json.part", "data.csv"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "out.json").symlink_to("data.csv")
    write_whole(tmp_path / "out.json", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "out.json": "new", "out.json.part": "mine", "data.csv": "mine",
    }  # fmt: skip
    assert not (tmp_path / "out.json").is_symlink()


@pytest.mark.parametrize("name", ["x" * 251 + ".json", "fifo.json", "null.json", "loop.json"])
def test_what_no_file_can_take_is_refused_before_any_work(tmp_path, name):
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "null.json").symlink_to("/dev/null")
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(InputError, match="--json: expected a "):
        check_writable("--json", tmp_path / name, ".json")
    check_writable("--json", tmp_path / ("x" * 250 + ".json"), ".json")


def test_names_cannot_steer_the_terminal():
    assert printable("a\x1b[31m\udcffé赤\n") == "a\\x1b[31m\\udcffé赤\n"


def test_json_of_a_name_that_is_no_text(tmp_path):
    write_json(tmp_path / "out.json", {"data": "\udcff"})
    assert json.loads((tmp_path / "out.json").read_bytes()) == {"data": "\udcff"}
