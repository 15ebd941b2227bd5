"""`handgrad faults`: a sample of what `make faults` does, and that it can fail."""

import json
import signal

from benchmarks.faults import kill_tests, runs


def test_a_sample(command, tmp_path):
    """Two kills, one harmed checkpoint and, where disks can be mounted, a full one."""
    path = tmp_path / "faults.json"
    ran = command("faults", "--kills", 2, "--harms", 1, "--disks", 1, "--json", path)
    assert (ran.code, ran.err) == (0, ""), ran.out
    found = json.loads(path.read_text())
    assert [trial["same"] for trial in found["kills"]] == [True, True]
    assert found["damages"]
    assert all(trial["same"] and trial["told"] for trial in found["damages"])
    assert "2 of 2" in ran.out


class Forgetful:
    """A server whose resumed runs begin anew, or come to other parameters."""

    def __init__(self, params, resumed_at):
        self.answers = iter([(b"right", 0, 0), (b"", 40, -signal.SIGKILL), (params, resumed_at, 0)])

    def run(self, args, folder, meanwhile=None):
        params, step, code = next(self.answers)
        (folder / "params.npz").write_bytes(params)
        for side in ("hand", "optax"):
            (folder / "saved" / side / "step-40").mkdir(parents=True, exist_ok=True)
        if step is not None:
            event = {"event": "resumed", "step": step}
            text = "".join(json.dumps(event | {"side": side}) + "\n" for side in ("hand", "optax"))
            (folder / "log.jsonl").write_text(text)
        return runs.Ended(code, "")


def test_a_lost_interval_and_another_bit_are_seen(tmp_path):
    for params, step, ok in ((b"right", 40, True), (b"wrong", 40, False), (b"right", 0, False)):
        server = Forgetful(params, step)
        folder = tmp_path / f"{params}{step}"
        (trial,) = kill_tests.trials(server, runs.KINDS[0], 1, folder)
        assert trial.ok is ok
