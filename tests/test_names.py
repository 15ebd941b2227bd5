"""Words that the project has dropped for the field's own: none of them is left."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Names of functions, classes, modules and variables, by the room that used them.
DROPPED_NAMES = {
    "verify": "Sight look tally hold_trial hear _hear summon Case _testimony Field Ground Suspects "
    "Suspicion with_passage passes_through Watch Surroundings parted flushed passage trial",
    "train": "lanes parted apart Look make_look take Pace Busy rollcall enrol watch together noted "
    "supervise snapshot put_back supervising pace",
    "scale": "lanes parted apart Look make_look take Pace Busy rollcall enrol watch together noted "
    "supervise snapshot put_back supervising pace",
    "explain": "told matching Meeting meetings sifted slopes origins written inside",
    "fast": "straight parted recedes hurts_nobody",
    "accuracy": "killing damaging measuring forms",
    "cli": "several Keeping serving bars say complain",
    "gradients": "exclusive_sum Residuals",
}
DROPPED_WORDS = (
    "so many", "what is no array", "one number an entry", "What all the data say",
    "How many there are", "Of the split, the weights and the order", "They are asked, not read",
    "what missed the figure", ", say",
)  # fmt: skip


def defined_names(tree):
    """What a file defines: functions, classes, arguments, attributes and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("room", DROPPED_NAMES)
def test_no_dropped_name_is_left(room):
    dropped = set(DROPPED_NAMES[room].split())
    files = list((ROOT / "src" / "handgrad" / room).rglob("*.py"))
    assert files
    for path in files:
        names = {path.stem, *defined_names(ast.parse(path.read_text()))}
        assert not names & dropped, path


def test_no_dropped_word_is_left():
    texts = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    assert len(texts) > 50
    for path in texts:
        text = re.sub(r"\s+", " ", path.read_text())
        for word in DROPPED_WORDS:
            assert word not in text, f"{path}: {word!r}"
