"""Tells the history of one seed: `python -m tests.simulation 42`."""

import sys

from tests.simulation.world import World

broken = World(int(sys.argv[1]), tell=lambda line: print(line)).live()
print("\n".join(["", "The laws hold." if not broken else "BROKEN", *broken]))
sys.exit(1 if broken else 0)
