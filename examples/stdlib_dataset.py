"""Make a summarisation set from Python's standard library: bodies of functions, and their docstrings as summaries.

python examples/stdlib_dataset.py stdlib.jsonl [--limit N]
"""

from __future__ import annotations

import argparse
import ast
import json
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "__pycache__"}
SHORTEST_SUMMARY = 20
"""Characters below which a docstring says too little to be a summary."""


def functions(source: str) -> Iterator[tuple[str, str]]:
    """Yield body and summary of every documented function in a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(node.body) > 1:
            summary = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if len(summary) >= SHORTEST_SUMMARY:
                yield body(source, node), summary


def body(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the text of a function's body without its docstring."""
    lines = source.splitlines()[node.body[0].end_lineno : node.end_lineno]
    return textwrap.dedent("\n".join(lines)).strip()


def samples(root: Path) -> Iterator[dict[str, str]]:
    """Yield a sample for every documented function below a folder, in a fixed order."""
    for path in sorted(root.rglob("*.py")):
        if not SKIPPED.intersection(path.relative_to(root).parts):
            for text, summary in functions(path.read_text(encoding="utf-8", errors="replace")):
                yield {"text": text, "summary": summary}


def main() -> None:
    """Write the set as JSON Lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--limit", type=int, help="at most so many samples, spread evenly over the library")
    arguments = parser.parse_args()
    found = list(samples(Path(sysconfig.get_path("stdlib"))))
    if arguments.limit and arguments.limit < len(found):
        found = [found[i * len(found) // arguments.limit] for i in range(arguments.limit)]
    lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in found)
    arguments.output.write_text("".join(lines), encoding="utf-8")
    print(f"{len(found)} samples in {arguments.output}")


if __name__ == "__main__":
    main()
