"""Faults planted in training: runs killed, disks that are full, checkpoints that are damaged."""
