"""Notebooks run without a server: their cells in order, in one namespace.

python tests/notebooks.py examples/see_the_gradient.ipynb   # run it and store what it shows
"""

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

Output = dict[str, Any]


def run(path: Path) -> tuple[dict[str, Any], list[list[Output]]]:
    """A notebook and, for each of its code cells, the outputs that it gives."""
    notebook, names = json.loads(path.read_text()), {"__name__": path.stem}
    return notebook, [_outputs(cell, names) for cell in code_cells(notebook)]


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _outputs(cell: dict[str, Any], names: dict[str, Any]) -> list[Output]:
    tree, said, value = ast.parse("".join(cell["source"])), io.StringIO(), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    printed = said.getvalue()
    stream = [{"output_type": "stream", "name": "stdout", "text": lines(printed)}] * bool(printed)
    return stream if value is None else [*stream, _shown(value)]


def _shown(value: Any) -> Output:
    """What a notebook shows of a cell's last value: its words, and its drawing if it has one."""
    data = {"text/plain": lines(repr(value))}
    if hasattr(value, "svg"):
        data["image/svg+xml"] = lines(value.svg())
    return {"output_type": "display_data", "metadata": {}, "data": data}


def words(outputs: list[Output]) -> str:
    """The text of a cell's outputs."""
    texts = (output.get("text") or output["data"]["text/plain"] for output in outputs)
    return "".join(line for text in texts for line in text)


def lines(text: str) -> list[str]:
    """As notebooks store text."""
    return text.splitlines(keepends=True)


def write(path: Path) -> None:
    """Run a notebook and store what it shows."""
    notebook, found = run(path)
    for number, (cell, outputs) in enumerate(zip(code_cells(notebook), found, strict=True), 1):
        cell["outputs"], cell["execution_count"] = outputs, number
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
