"""`python -m llamalab.site FOLDER`: build the lesson as a static site in this folder."""

import argparse
import sys
from pathlib import Path

from llamalab.errors import LlamalabError
from llamalab.site.build import build


def main() -> int:
    parser = argparse.ArgumentParser("python -m llamalab.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the site is built")
    parser.add_argument(
        "--full", type=Path, help="a folder with Pyodide's full distribution, for matplotlib"
    )
    asked = parser.parse_args()
    try:
        build(asked.folder, asked.full)
    except LlamalabError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in asked.folder.rglob("*") if file.is_file())
    print(f"Site: {asked.folder} ({size / 1e6:.1f} MB). Any web server can serve it, for example:")
    print(f"      python -m http.server --bind 127.0.0.1 --directory {asked.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
