"""The certificate: a verdict that can be reached again, and what is said when it cannot."""

import ast
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.verify import verify
from handgrad.verify.verdict import (
    differs_here,
    digest,
    import_path,
    read_certificate,
    what_changed,
    with_recorded_inputs,
)

SOURCE = Path(__file__).parents[2] / "src" / "handgrad"
AT = ({"w": np.array([0.1, -2.0])}, np.int32(3))


def loss(params, n):
    return jnp.sum(params["w"] ** 2) * n.astype(params["w"].dtype)


def gradient(params, n):
    return {"w": 2 * params["w"] * n.astype(params["w"].dtype)}


def altered(params, n):
    return {"w": 2 * params["w"] * (n.astype(params["w"].dtype) + 1)}


def judged(gradient=gradient, at=AT):
    return verify(gradient, of=loss, at=at, evaluations=100, name="energy")


@pytest.fixture(scope="module")
def text():
    return judged().to_json()


@pytest.fixture(scope="module")
def again():
    """The verdict of the same question, asked anew."""
    return judged()


def test_it_holds_all_that_is_needed_to_reach_it_again(text):
    data = json.loads(text)
    assert data["format"] == "handgrad certificate 1"
    assert [entry["leaf"] for entry in data["inputs"]] == ["[0]['w']", "[1]"]
    assert [float.fromhex(v) for v in data["inputs"][0]["values"]] == [0.1, -2.0]
    assert data["inputs"][1] == {"leaf": "[1]", "dtype": "int32", "values": 3}
    assert data["question"] == {
        "argnums": 0, "dtypes": ["float32", "float64"], "digits": 60, "evaluations": 100, "seed": 0,
        "strict": False,
    }  # fmt: skip
    assert {"jax", "numpy", "python_flint", "python", "device"} <= set(data["machine"])
    assert isinstance(data["machine"]["flushes_subnormals"], bool)
    assert [float(ball) for ball in data["enclosures"]] == [6 * 0.1, -12.0]
    assert data["compared"] >= 2
    assert all(100 <= row["evaluations"] < 120 for row in data["numerics"])


def test_it_names_functions_that_can_be_imported_and_only_those():
    assert import_path(verify) == "handgrad.verify.api:verify"
    assert import_path(lambda x: x) is None


def test_the_same_question_changes_nothing(text, again):
    assert what_changed(read_certificate(text, "file"), again) == []


def test_an_altered_gradient_no_longer_holds(text):
    changed = what_changed(read_certificate(text, "file"), judged(altered))
    assert any(line.startswith("ok: True then, False now") for line in changed)
    assert any(line.startswith("hand: 'identical' then, 'different' now") for line in changed)


def test_an_edited_input_no_longer_holds(text):
    data = json.loads(text)
    data["inputs"][0]["values"][0] = (0.25).hex()
    at = with_recorded_inputs(AT, read_certificate(json.dumps(data), "file"))
    assert at[0]["w"].tolist() == [0.25, -2.0]
    changed = what_changed(data, judged(at=at))
    assert any(line.startswith("enclosures[0]: ") for line in changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("digits",), 61),
        (("compared",), 7),
        (("numerics", 0, "hand_max_ulp"), 0.125),
        (("numerics", 1, "hand_bad"), 3),
        (("numerics", 1, "evaluations"), 5),
        (("enclosures", 0), "[0.61 +/- 1e-60]"),
    ],
    ids=str,
)
def test_an_edited_number_no_longer_holds(text, again, path, value):
    data = json.loads(text)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    altered, line = what_changed(read_certificate(json.dumps(data), "file"), again)
    assert altered.startswith("digest: ")
    assert str(path[-1] if isinstance(path[-1], str) else path[0]) in line


def test_numbers_that_json_lacks_survive():
    verdict = judged(lambda params, n: {"w": params["w"] * jnp.nan})
    data = json.loads(verdict.to_json(), parse_constant=pytest.fail)
    assert data["numerics"][0]["hand_max_ulp"] == "inf"
    assert what_changed(data, verdict) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[:100], "a certificate in JSON"),
        (lambda text: '{"format": "something else"}', "'handgrad certificate 1'"),
        (lambda text: "[1, 2]", "'handgrad certificate 1'"),
        (lambda text: '{"format": "handgrad certificate 1"}', "a whole certificate"),
        (lambda text: text.replace('"digits": 60', '"digits": "60"'), "'digits' as str"),
        (lambda text: text.replace('"leaf": ', '"sheet": '), "'inputs' without 'leaf'"),
    ],
    ids=["cut off", "foreign", "a list", "empty", "a word for a number", "no leaf"],
)
def test_what_is_no_certificate_is_refused_in_words(text, spoil, words):
    with pytest.raises(InputError, match=words):
        read_certificate(spoil(text), "my.json")


def test_inputs_of_another_structure_are_refused(text):
    data = read_certificate(text, "file")
    with pytest.raises(InputError, match="inputs with the structure of the example"):
        with_recorded_inputs(({"v": np.ones(2)}, np.int32(3)), data)
    data["inputs"][0]["values"][0] = "quarter"
    with pytest.raises(InputError, match="hex floats"):
        with_recorded_inputs(AT, data)


def test_nothing_is_ever_unpickled():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
                assert not {"pickle", "cloudpickle", "dill", "joblib", "marshal"} & set(names), path
            if getattr(node, "arg", None) == "allow_pickle":
                assert ast.unparse(node) == "allow_pickle=False", path


def leaves_of(value, path=()):
    """The path of each leaf of a certificate."""
    if isinstance(value, dict | list) and value:
        keys = value if isinstance(value, dict) else range(len(value))
        return [leaf for key in keys for leaf in leaves_of(value[key], (*path, key))]
    return [path]


def test_no_leaf_can_be_changed_unseen(text, again):
    """With the digest left as it is, and with one made anew."""
    for path in leaves_of(json.loads(text)):
        for renewed in (False, True):
            data = json.loads(text)
            place = data
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = "another"
            if renewed and path[0] not in ("digest", "subject"):
                data["digest"] = digest(data)
            seen = what_changed(data, again) + differs_here(data, again)
            assert seen, path


@pytest.mark.parametrize("change", ["emptied", "renamed", "longer"])
def test_the_rows_of_the_numerics_are_bound(text, again, change):
    data = json.loads(text)
    if change == "emptied":
        data["numerics"] = []
    elif change == "renamed":
        data["numerics"][0]["dtype"] = "float16"
    else:
        data["numerics"].append(data["numerics"][0])
    data["digest"] = digest(data)
    assert what_changed(data, again)
