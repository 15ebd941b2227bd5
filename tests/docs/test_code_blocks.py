"""Every block of code in the chapters and in the README runs, and the command's lines parse."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from book.running import (
    NEEDS,
    PYTHON,
    Block,
    Page,
    PageError,
    blocks_of,
    pages_of,
    run_page,
)
from handgrad.cli.app import app

ROOT = Path(__file__).parents[2]
CHAPTERS = pages_of(ROOT / "docs" / "chapters")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "index.md", *CHAPTERS]
SHELL = ("sh", "console")
SHOWN = ("text",)
DIRECTIVES = (
    "derivation", "all-derivations", "drawn", "every-logit", "explained", "played", "results",
    "toctree",
)  # fmt: skip


def commands(block: Block) -> list[str]:
    """The lines of a shell block that are commands, without prompt and comment."""
    lines = block.text.splitlines()
    if block.kind == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.split("#")[0].strip()]


def parse(line: str) -> None:
    """Let the command read a line, and not run it; for `make`, look the target up."""
    name, *arguments = shlex.split(line, comments=True)
    if name == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets), line
        return
    assert name == "handgrad", f"unknown command: {line}"
    whole = get_command(app)
    with whole.make_context("handgrad", list(arguments)) as context:
        rest = [*context._protected_args, *context.args]
        _, command, rest = whole.resolve_command(context, rest)
        command.make_context(command.name, rest, parent=context).close()


SHELL_LINES = [
    (f"{path.name}:{block.line}", line)
    for path in PAGES
    for block in blocks_of(path.read_text())
    if block.kind in SHELL
    for line in commands(block)
]


def test_there_are_sixteen_chapters():
    assert [int(path.name[:2]) for path in CHAPTERS] == list(range(1, 17))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_block_is_of_a_kind_that_nobody_runs(path):
    kinds = {block.kind for block in blocks_of(path.read_text())}
    assert kinds <= {*PYTHON, *SHELL, *SHOWN, *DIRECTIVES, NEEDS}
    if path in CHAPTERS:  # there, Python that is not run would be Python that may be wrong
        assert "python" not in kinds


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_runs(path):
    assert path.read_text().count(":class: tip") == 1, "a chapter ends with something to try"
    page = run_page(path)
    if page.missing:
        pytest.skip(f"no {page.missing} here")
    assert page.ran >= 3
    assert page.checked >= 2


def test_the_python_of_the_readme_has_its_output_beside_it():
    """So that tests/test_readme.py, which runs it, can compare."""
    kinds = [block.kind for block in blocks_of((ROOT / "README.md").read_text())]
    after = [kinds[at + 1] for at, kind in enumerate(kinds) if kind == "python"]
    assert len(after) == 3
    assert set(after) == {"text"}


@pytest.mark.parametrize(("place", "line"), SHELL_LINES, ids=[place for place, _ in SHELL_LINES])
def test_a_shell_line_is_understood(place, line):
    parse(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("handgrad verfy", "No such command"),
        ("handgrad train iris --rate 3", "No such option"),
        ("handgrad atlas --every-logit --sample many", "valid integer"),
        ("make cake", "make cake"),
        ("handgrads", "unknown command"),
    ],
)
def test_a_shell_line_that_is_wrong_is_noticed(line, said):
    with pytest.raises(Exception, match=said):
        parse(line)


# --- the runner itself --------------------------------------------------------------------------

PLANTED = """# A page

```{run}
x = 2
print(x)
```

It is {value}`x + 1`.

```{check}
assert x == 2
assert x == 3, "two is not three"
```
"""


def test_a_claim_that_does_not_hold_is_named_by_its_line(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PLANTED)
    with pytest.raises(PageError, match=r"page\.md:12: AssertionError: two is not three"):
        run_page(path)
    path.write_text(PLANTED.replace("assert x == 3", "assert x == 2"))
    page = run_page(path)
    assert (page.ran, page.checked) == (1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```{run}\n1 / 0\n```\n", "page.md:2: ZeroDivisionError"),
        ("\n```{run}\nx = (\n```\n", "page.md:3: SyntaxError"),
        ("\n\n{value}`nowhere`\n", "page.md:3: NameError"),
        ("```{check}\nx = 1\n```\n", "page.md:2: a check without an assert"),
    ],
)
def test_what_cannot_run_is_named_by_its_line(text, said, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(PageError, match=re.escape(said)):
        run_page(path)


def test_without_a_package_nothing_is_run(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("```{needs}\nno_such_package\n```\n\n" + PLANTED)
    page = run_page(path)
    assert (page.missing, page.ran, page.checked) == ("no_such_package", 0, 0)
    path.write_text("```{needs}\njax\n```\n\n" + PLANTED.replace("assert x == 3", "assert x"))
    assert run_page(path).checked == 1


def test_an_open_fence_is_refused():
    with pytest.raises(ValueError, match="line 2: a fence that is never closed"):
        blocks_of("one\n```{run}\nx = 1\n")


def test_blocks_keep_their_order_and_lines():
    found = blocks_of(PLANTED)
    assert [(block.kind, block.line) for block in found] == [
        ("run", 4),
        ("value", 8),
        ("check", 11),
    ]


def test_a_page_is_one_namespace_and_prints_what_it_prints():
    page = Page("page.md")
    assert page.run("x = 20\nprint(x + 1)", 3) == "21\n"
    assert page.value("x * 2", 9) == "40"
