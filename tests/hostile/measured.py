"""`python -m hostile.measured MODEL FILE...`: what a file costs the predictor, a JSON line each.

Seconds are those of the processor, for a machine may do something else besides. Megabytes are the
highest that the process has reached so far, beyond what it held after a first, ordinary picture.
"""

import json
import sys
import time
from pathlib import Path

from alld.inference.predictor import Predictor


def highest_mb() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count the parent that this process was forked from
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (2**20 if sys.platform == "darwin" else 1024)


def main(model: str, first: str, *files: str) -> None:
    """Predict the first file, then measure the others."""
    predictor = Predictor.load(model, "cpu")
    predictor.predict([first])
    idle = highest_mb()
    for file in files:
        began = time.process_time()
        (row,) = predictor.predict([file])
        seconds = time.process_time() - began
        found = {"file": file, "seconds": seconds, "mb": highest_mb() - idle, "error": row.error}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
