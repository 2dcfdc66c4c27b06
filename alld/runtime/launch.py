"""How this process was started: alone, or by torchrun as one of several of one training."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from alld.errors import ConfigError

# What torchrun tells each process, beside WORLD_SIZE, which other programs set too.
_TOLD = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """Which one of how many processes this is, in all and on this machine; ranks count from 0."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """What the environment says; without WORLD_SIZE, or with 1, this process is alone.

    Raises:
        ConfigError: several processes are announced, and something that they need is not.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return Launch()
    said = f"WORLD_SIZE is {environment['WORLD_SIZE']!r} in the environment"
    advice = "start with torchrun, or unset WORLD_SIZE"
    missing = [name for name in _TOLD if not environment.get(name)]
    if missing:
        raise ConfigError(f"{said} without {', '.join(missing)}; {advice}")
    numbers = [environment[name] for name in ("RANK", "WORLD_SIZE", *_TOLD[1:3])]
    if not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"{said}, with ranks that are no numbers; {advice}")
    start = Launch(*map(int, numbers))
    if not (start.rank < start.world_size and start.local_rank < start.local_world_size):
        raise ConfigError(f"{said}, and RANK is {start.rank}; {advice}")
    return start
