"""What a run leaves and takes up again: flags of `handgrad train` that save, spoiled checkpoints."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from fuzz.harness import REFUSED, campaign, command, keeps_the_rule, snapshot
from fuzz.test_command import NUMBERS, PLACES, argument, flags, furnish

pytest.importorskip("orbax.checkpoint")
KEPT = ("in.csv", "my.py", "taken.json", "fifo.json", "folder.json", "null.json")
LINE = ["train", "in.csv", "--target", "label", "--epochs", "2", "--batch-size", "full"]


def run(line, folder):
    """Run it; no input is another afterwards."""
    before = {name: (folder / name).read_bytes() for name in ("in.csv", "taken.json", "my.py")}
    ran = command(*line)
    keeps_the_rule(ran)
    assert {name: (folder / name).read_bytes() for name in before} == before
    left = [path for path in snapshot(folder) if path.endswith(".part") and "handgrad" in path]
    assert not left, left
    return REFUSED if ran.code == 2 else ran


@campaign("handgrad train: --checkpoint, --log, --params", 150, 4)
def test_flags(draw, outcomes, folder):
    furnish(folder)
    for path in folder.iterdir():  # a checkpoint is a folder, a record a file, whatever their names
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    furnish(folder)
    place = st.one_of(
        st.sampled_from(["saved", "log.jsonl"]), PLACES.map(lambda p: p.format(".json"))
    )
    line = [*LINE, *flags(draw, "", every_steps=NUMBERS, every_seconds=NUMBERS)]
    for name, good in {"checkpoint": "saved", "log": "log.jsonl", "params": "params.npz"}.items():
        if draw.sound or draw(st.booleans()):
            line += [f"--{name}", good if draw.sound else argument(draw(place))]
    if not draw.sound and draw(st.integers(0, 3)) == 0:
        line.append("--resume")
    outcomes.hold(lambda: run(line, folder), line)


HARMS = st.sampled_from(
    ["cut", "flip", "empty", "away", "link", "folder", "fifo", "pickle", "deep"]
)


def do_harm(draw, harm, path):
    content = bytearray(path.read_bytes())
    path.unlink()
    if harm == "cut":
        path.write_bytes(content[: draw(st.integers(0, len(content)))])
    elif harm == "flip":
        place = draw(st.integers(0, max(0, len(content) - 1)))
        content[place : place + 1] = bytes([draw(st.integers(0, 255))])
        path.write_bytes(content)
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "link":
        path.symlink_to(draw(st.sampled_from(["/etc/passwd", "/dev/zero", path.name])))
    elif harm == "folder":
        path.mkdir()
    elif harm == "fifo":
        os.mkfifo(path)
    elif harm in ("pickle", "deep"):
        path.write_bytes(
            b"cos\nsystem\n(S'touch sentinel'\ntR." if harm == "pickle" else b"[" * 10**5
        )


@campaign("handgrad train: --resume from what was spoiled", 80, 3)
def test_spoiled(draw, outcomes, folder):
    """Files of a checkpoint cut, flipped, exchanged, made links or folders, or taken away."""
    furnish(folder)
    saved, spoiled = folder / "saved", folder / "spoiled"
    if not saved.exists():
        assert command(*LINE, "--checkpoint", "saved", "--every-steps", "1").code == 0
    shutil.rmtree(spoiled, ignore_errors=True)
    shutil.copytree(saved, spoiled)
    paths = sorted(path for path in spoiled.rglob("*") if path.is_file() and path.name != "lock")
    harm = draw.or_sound("none", HARMS)
    # One file of one step is made up for by the step before; of all of them nothing is left.
    all_of_them = draw(st.sampled_from([True, False]))
    harmed = paths if all_of_them else [draw(st.sampled_from(paths))]
    for path in harmed if harm != "none" else []:
        do_harm(draw, harm, path)
    line = [*LINE, "--checkpoint", "spoiled", "--resume", "--epochs", "3"]
    names = [str(path.relative_to(spoiled)) for path in harmed]
    outcomes.hold(lambda: run(line, folder), harm, names)
    assert not Path("sentinel").exists()
