"""assert_gradient, and the pytest plugin run by pytest itself."""

import json
import subprocess
import sys

import jax.numpy as jnp
import pytest

from handgrad.testing import assert_gradient
from handgrad.verify.verdict import read_certificate

pytest_plugins = "pytester"


def energy(x):
    return jnp.sum(x * x)


def double(x):
    return 2 * x


def not_quite_double(x):
    return 2.001 * x


AT = (jnp.array([1.0, -0.5, 3.0]),)

SUITE = """
    import jax.numpy as jnp
    from handgrad.testing import assert_gradient

    def energy(x):
        return jnp.sum(x * x)

    def test_right():
        assert_gradient(lambda x: 2 * x, of=energy, at=(jnp.ones(2),), name="right", evaluations=0)

    def test_wrong():
        assert_gradient(lambda x: -x, of=energy, at=(jnp.ones(2),), name="wrong", evaluations=0)
"""


def test_a_right_gradient_returns_its_verdict():
    verdict = assert_gradient(double, of=energy, at=AT, evaluations=0)
    assert (verdict.ok, verdict.hand, verdict.digits) == (True, "identical", 60)


def test_a_wrong_gradient_raises_the_printed_verdict():
    with pytest.raises(AssertionError) as caught:
        assert_gradient(not_quite_double, of=energy, at=AT, evaluations=0)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("not_quite_double: NOT right: wrong at ")
    assert any("float64" in line for line in rest)


def test_a_wrong_tree_is_named_in_the_first_line():
    with pytest.raises(AssertionError, match=r"^double: NOT right: float32: the gradient is .*\n"):
        assert_gradient(lambda x: (2 * x,), of=energy, at=AT, name="double")


def test_the_options_reach_the_judge():
    def clamped(x):
        return jnp.where(jnp.abs(x) < 6, 2 * x, 0)

    assert assert_gradient(clamped, of=energy, at=AT, evaluations=0).ok
    with pytest.raises(AssertionError, match="wrong at drawn point"):
        assert_gradient(
            clamped, of=energy, at=AT, evaluations=0, points=lambda key: (jnp.full(3, 7.0),)
        )


@pytest.fixture
def suite(pytester, monkeypatch):
    pytester.makepyfile(test_mine=SUITE)

    def run(*args):
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *args)

    return run


def test_the_summary_has_a_line_for_every_verdict(suite):
    ran = suite()
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines([
        "*= handgrad =*",
        "gradient*verdict*digits*worst of hand*test",
        "right*identical*60*float32 0 ulp; float64 0 ulp*test_mine.py::test_right",
        "wrong*different (NOT right)*-*test_mine.py::test_wrong",
    ])  # fmt: skip


def test_a_failing_test_shows_no_frame_of_handgrad(pytester):
    pytester.makepyfile(
        """
        import jax.numpy as jnp
        import pytest

        def loss(x):
            raise ValueError("out of ideas")

        def test_wrong(assert_gradient):
            assert_gradient(lambda x: -x, of=lambda x: (x * x).sum(), at=(jnp.ones(2),))

        def test_bad(assert_gradient):
            assert_gradient(lambda x: -x, of=loss, at=(jnp.ones(2),))
        """
    )
    ran = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--handgrad-evaluations=0")
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(["E*InputError: of: expected a loss*ValueError: out of ideas*"])
    ran.stdout.no_fnmatch_line("*src/handgrad/*")


def test_the_fixture_has_the_options_of_the_marker_and_of_the_command(pytester):
    pytester.makepyfile(
        """
        import jax.numpy as jnp
        import pytest
        import handgrad.testing

        def energy(x):
            return jnp.sum(x * x)

        @pytest.mark.handgrad(evaluations=7, dtypes=("float64",))
        def test_marked(assert_gradient):
            assert_gradient(lambda x: 2 * x, of=energy, at=(jnp.ones(2),))

        def test_not_marked():
            handgrad.testing.assert_gradient(lambda x: 2 * x, of=energy, at=(jnp.ones(2),))
        """
    )
    args = ("-p", "no:cacheprovider", "--strict-markers", "--handgrad-evaluations=3")
    pytester.runpytest_inprocess(*args, "--handgrad-json=report.json").assert_outcomes(passed=2)
    marked, plain = json.loads((pytester.path / "report.json").read_text())["certificates"]
    assert (marked["question"]["evaluations"], marked["question"]["dtypes"]) == (7, ["float64"])
    assert plain["question"]["evaluations"] == 3


def test_a_run_without_gradients_says_nothing(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    ran = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    ran.stdout.no_fnmatch_line("*= handgrad =*")


def test_the_report_holds_the_certificates(suite, pytester):
    suite("--handgrad-json", "report.json")
    report = json.loads((pytester.path / "report.json").read_text())
    right, wrong = report["certificates"]
    assert (right["test"], right["ok"]) == ("test_mine.py::test_right", True)
    assert (wrong["test"], wrong["ok"]) == ("test_mine.py::test_wrong", False)
    assert read_certificate(json.dumps(right), "report.json")["digits"] == 60


def test_a_report_into_no_folder_is_refused_at_once(suite):
    ran = suite("--handgrad-json", "nowhere/report.json")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(["*--handgrad-json: there is no folder*nowhere*"])


def test_the_plugin_is_installed_and_imports_no_jax():
    code = (
        "import sys, importlib.metadata as m\n"
        "(entry,) = m.entry_points(group='pytest11', name='handgrad')\n"
        "entry.load()\n"
        "assert 'handgrad.testing' in sys.modules\n"
        "assert not {'jax', 'jaxlib', 'flint', 'numpy', 'pytest'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
