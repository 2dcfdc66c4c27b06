"""Cut crops around given points of fields, for `alld train --data OUT/table.csv`.

    python scripts/cut_crops.py points.csv --out crops     # columns field,x,y[,label][,sample]
    python scripts/cut_crops.py ALL-IDB1 --out crops       # the .xyc files beside its fields

`points.csv` names the centre of each cell in pixels of its field. The crops of a field belong to
one group, the sample is the patient, and the EXIF of the fields tells the sessions. So a set can be
built that ALL-IDB2 lacks: white cells that are no blasts, from fields of ALL patients.
"""

import argparse
import sys
from pathlib import Path

import activated  # noqa: F401 - says which environment to activate

from alld.cells.crops import SIDE
from alld.data.crops import TABLE, read_centres, read_points, write_crops
from alld.errors import AlldError


def main() -> int:
    """Cut the crops, or say what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("points", type=Path, help="a CSV table, or a folder with .xyc files")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for crops and table")
    parser.add_argument("--side", type=int, default=SIDE, help="of a crop, in pixels")
    parser.add_argument("--label", default="blast", help="of the points in .xyc files")
    options = parser.parse_args()
    try:
        folder = options.points.is_dir()
        points = (
            read_centres(options.points, options.label) if folder else read_points(options.points)
        )
        number = write_crops(points, options.out, side=options.side)
    except AlldError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{number} crops: {options.out / TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
