"""Write the pictures beside their modules."""

import sys

from figures.drawing import FOLDER, drawn, names

for name in sys.argv[1:] or names():
    (FOLDER / f"{name}.svg").write_text(drawn(name))
