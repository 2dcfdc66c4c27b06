"""Read from the environment whether torchrun started this process as one of several."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from alld.errors import ConfigError

# What torchrun sets beside WORLD_SIZE, which other programs set too.
_VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The number of this process, in all and on this machine, and of how many; from 0."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Return what torchrun says; without WORLD_SIZE, or with 1, this process is alone.

    Raises:
        ConfigError: several processes are announced, and something that they need is missing.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return Launch()
    place = f"WORLD_SIZE is {environment['WORLD_SIZE']!r} in the environment"
    advice = "start with torchrun, or unset WORLD_SIZE"
    if missing := [name for name in _VARIABLES if not environment.get(name)]:
        raise ConfigError(f"{place} without {', '.join(missing)}; {advice}")
    numbers = [environment[name] for name in ("RANK", "WORLD_SIZE", *_VARIABLES[1:3])]
    if not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"{place}, with ranks that are not whole numbers; {advice}")
    start = Launch(*map(int, numbers))
    if not (start.rank < start.world_size and start.local_rank < start.local_world_size):
        raise ConfigError(f"{place}, and RANK is {start.rank}; {advice}")
    return start
