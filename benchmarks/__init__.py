"""What only this repository runs: long benchmarks, the judge judged, faults planted in training."""
