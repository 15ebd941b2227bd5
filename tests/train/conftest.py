"""Data of the training tests: real, parted and standardised once."""

import pytest

from handgrad.data import load, split, standardise


@pytest.fixture(scope="session")
def breast_cancer():
    """Training and test part, standardised by the former."""
    return standardise(*split(load("breast-cancer")))


@pytest.fixture(scope="session")
def iris():
    return standardise(*split(load("iris")))


@pytest.fixture(scope="session")
def digits():
    return standardise(*split(load("digits")))


@pytest.fixture(scope="session")
def moons():
    return standardise(*split(load("moons")))
