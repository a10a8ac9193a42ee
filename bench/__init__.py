"""Benchmarks of Signalbox: `make bench`. Everything runs on private servers in one run, so ratios hold on any
machine.
"""
