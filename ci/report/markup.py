"""HTML elements by function call; every text is escaped where it is written out."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

Child = ET.Element | str


def element(tag: str, *children: Child, **attributes: str) -> ET.Element:
    """Return `<tag>`; an attribute's name may end in `_`, and its other `_` become `-`."""
    names = {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items() if text}
    made = ET.Element(tag, names)
    for child in children:
        if isinstance(child, ET.Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def table(head: Iterable[Child], rows: Iterable[Iterable[ET.Element]]) -> ET.Element:
    """Return a table that scrolls sideways where it must."""
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *(_head(cell) for cell in head))),
            element("tbody", *(element("tr", *row) for row in rows)),
        ),
        class_="scroll",
    )


def _head(cell: Child) -> ET.Element:
    return cell if isinstance(cell, ET.Element) else element("th", cell)


def html(*elements: ET.Element) -> str:
    """Return the elements as HTML."""
    return "\n".join(ET.tostring(each, encoding="unicode", method="html") for each in elements)
