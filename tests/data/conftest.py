import pytest

from handgrad.data import load
from handgrad.errors import InputError


@pytest.fixture
def read(tmp_path):
    """Writes text or bytes to a file and loads it."""

    def load_written(content, target="label", name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(path, target)

    return load_written


@pytest.fixture
def refused(read):
    """The message with which `load` refuses what is written."""

    def message(content, target="label", name="table.csv"):
        with pytest.raises(InputError) as caught:
            read(content, target, name)
        return str(caught.value)

    return message
