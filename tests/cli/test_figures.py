"""`handgrad figures`: the files, and what is refused."""

import pytest


def test_figures_are_written_by_name(command, tmp_path):
    out = tmp_path / "new" / "folder"
    result = command("figures", "underflow", "logarithm", "underflow", "--out", out)
    assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["logarithm.png", "underflow.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())
    assert [line.split(":")[0].split("/")[-1] for line in result.out.splitlines()] == [
        "underflow.png", "logarithm.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cat",), "name: expected some of logarithm, sigmoid, scaling, underflow, surface, moons"),
        (("sigmoid", "--out", "file.txt"), "--out: expected a folder, or a name for a new one"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    command, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("not a folder")
    result = command("figures", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.slow
def test_all_of_them(command, tmp_path):
    result = command("figures", "--out", tmp_path)
    assert result.code == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(
        ["logarithm.png", "sigmoid.png", "scaling.png", "underflow.png", "surface.png",
         "moons.png", "pushing.gif"]
    )  # fmt: skip
