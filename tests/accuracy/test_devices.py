"""The sweep shares its blocks among several devices and finds the same."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from handgrad.accuracy.every_logit import sweep
from handgrad.accuracy.formulas import FORMULAS

COUNT = """
import json, jax, numpy as np
from handgrad.accuracy.every_logit import sweep
from handgrad.accuracy.formulas import FORMULAS
found = sweep(FORMULAS[18:20], blocks=np.arange(8300, 8400), sample=100 * 1001)
print(json.dumps([len(jax.devices()), [[o.max_ulp, o.worst_at, o.nan, o.zero] for o in found]]))
"""


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="forces host devices")
def test_three_devices_find_what_one_does():
    flags = "--xla_force_host_platform_device_count=3"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    output = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, check=True, capture_output=True, text=True
    ).stdout
    devices, shared = json.loads(output)
    alone = sweep(FORMULAS[18:20], blocks=np.arange(8300, 8400), sample=100 * 1001)
    assert devices == 3
    assert shared == [[o.max_ulp, o.worst_at, o.nan, o.zero] for o in alone]
