"""`python -m tests.architecture`: the rooms of the code (folders of the engine, apps of the web), arrows and circles.

An arrow is one room importing another, however often. A circle is a set of rooms of which each reaches all others. The
contracts in pyproject.toml say which arrows may be; this shows which there are.
"""

from __future__ import annotations

import sys
from collections import Counter

import grimp

PARTS = ("training", "webapp", "workers")


def room_of(module: str) -> str:
    """The folder below a top-level package, or a file there: training.ppo, webapp.runs, training.errors."""
    return ".".join(module.split(".")[:2])


def arrows(graph: grimp.ImportGraph, part: str) -> Counter[tuple[str, str]]:
    """How many imports go from one room of a top-level package to another."""
    counted: Counter[tuple[str, str]] = Counter()
    for importer in graph.modules:
        if importer.split(".")[0] != part:
            continue
        for imported in graph.find_modules_directly_imported_by(importer):
            source, target = room_of(importer), room_of(imported)
            if imported.split(".")[0] == part and source != target and part not in (source, target):
                counted[source, target] += 1
    return counted


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Sets of rooms that all reach one another, by the rooms that each one reaches."""
    rooms = {room for edge in edges for room in edge}
    reached = {room: {target for source, target in edges if source == room} for room in rooms}
    for middle in rooms:
        for room in rooms:
            if middle in reached[room]:
                reached[room] |= reached[middle]
    mutual = {room: frozenset(other for other in reached[room] if room in reached[other]) for room in rooms}
    return sorted(sorted(group) for group in set(mutual.values()) if len(group) > 1)


def main() -> int:
    graph = grimp.build_graph(*PARTS)
    in_circles = 0
    for part in PARTS:
        counted = arrows(graph, part)
        rooms = sorted({room_of(module) for module in graph.modules if module.startswith(f"{part}.")})
        print(f"{part}: {len(rooms)} rooms, {len(counted)} arrows")
        for room in rooms:
            targets = sorted(target.split(".")[1] for source, target in counted if source == room)
            print(f"    {room.split('.')[1]:20} {' '.join(targets)}")
        for circle in circles(set(counted)):
            in_circles += 1
            print(f"    circle: {' '.join(circle)}")
    print(f"circles: {in_circles}")
    return min(in_circles, 1)


if __name__ == "__main__":
    sys.exit(main())
