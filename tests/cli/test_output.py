"""Files are written whole or not at all, and hold what JSON can hold."""

import json

import pytest

from handgrad._errors import InputError
from handgrad.cli.output import say, ulps, write_json, write_whole


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
    say("word " * 40)
    assert capsys.readouterr().out.count("\n") == 1
