"""XMP sidecars: rating, colour label and keywords beside a photo, as darktable, digiKam and Lightroom read them.

A sidecar that is there is merged: the texts of others stay, byte order mark, packet markers and unknown namespaces
included. A photographer's own rating and colour label are kept as well: ours are replaced by ours alone, which are told
by the notes in `NAMESPACE`. Keywords are added to `dc:subject`, and to digiKam's and Lightroom's own lists where
there are such, because these programs read theirs first.
"""

import bisect
import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from lxml import etree

from ..common.text import first_line
from ..formats import RAW_EXTENSIONS
from ..photos import open_file
from ..verdicts import NOT_SURE, STARS

NAMESPACE = "urn:abc-fusenet:xmp:1.0/"
"""The namespace of our notes on our own values."""
NAMES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "darktable": "http://darktable.sf.net/",
    "abc_fusenet": NAMESPACE,
}
XMP_COLORS = {"no-blur": "Blue", "good-blur": "Green", "ok-blur": "Yellow", "bad-blur": "Red"}
"""The colour of each certain verdict, as Lightroom spells it in English and darktable and digiKam read it."""
DARKTABLE_LABELS = ("Red", "Yellow", "Green", "Blue", "Purple")
DIGIKAM_LABELS = ("", "Red", "Orange", "Yellow", "Green", "Blue")
"""The colour labels of these programs, by number."""
BEST_OF_BURST = "best-of-burst"
MAX_SIDECAR = 16 * 2**20
"""The largest sidecar that is read [bytes]."""
EMPTY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    f'xmlns:rdf="{NAMES["rdf"]}"><rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
).encode()


class XmpError(ValueError):
    """A sidecar that is no XMP; it is left as it is."""


@dataclass(frozen=True)
class Marks:
    """The marks of a photo in a sidecar.

    Args:
        rating: 1 to 5 stars, or -1 for a rejected photo, which replaces any rating.
        label: a colour of `XMP_COLORS`; None for a verdict that is not certain.
        keywords: the label of the verdict; `NOT_SURE` and `BEST_OF_BURST` where they apply.
    """

    rating: int
    label: str | None
    keywords: tuple[str, ...]

    @classmethod
    def of(cls, row: dict, rejected: bool = False, stars: Sequence[float] = STARS) -> "Marks":
        """The marks of a row of the table. A person's rating and colour label, wherever they are, are repeated. `stars`
        are the scores from which a photo has 2, 3, 4 and 5 stars."""
        label, certain = row["label"], row["certain"]
        more = {NOT_SURE: not certain, BEST_OF_BURST: row["burst_rank"] == 1}
        keywords = (label, *(keyword for keyword, applies in more.items() if applies))
        rating = row["rating"] or 1 + bisect.bisect_right(stars, row["score"])
        color = row["color_label"] or (XMP_COLORS[label] if certain else None)
        return cls(-1 if rejected else rating, color, keywords)

    def to_dict(self) -> dict:
        return asdict(self)


def sidecars(photo: str, beside: Iterable[str] = ()) -> list[str]:
    """The names of the sidecars of a photo: those that lie beside it, in any case of letters. A photo without one gets
    `photo.jpg.xmp`. Camera RAW has `photo.xmp` as well."""
    whole, short = f"{photo}.xmp", f"{os.path.splitext(photo)[0]}.xmp"
    there = {name.lower(): name for name in beside if name.lower() in (whole.lower(), short.lower())}
    raw = photo.lower().endswith(RAW_EXTENSIONS)
    wanted = [whole, short] if raw else [] if there else [whole]
    return list((there | {name.lower(): there.get(name.lower(), name) for name in wanted}).values())


def marks_in(data: bytes) -> dict:
    """The `rating` and the `color_label` that a person gave, from an XMP packet; without those that are ours. Raises
    XmpError if it cannot be read."""
    rdf = rdf_of(parse(data.strip(b"\0 \r\n\t")))
    answer: dict = {}
    for note, name, column in (("rating", "xmp:Rating", "rating"), ("label", "xmp:Label", "color_label")):
        value = (get(rdf, name) or "").strip()
        if value not in ("", "0", get(rdf, f"abc_fusenet:{note}")):
            answer[column] = value[:100]
    if "rating" in answer:
        try:
            answer["rating"] = max(-1, min(5, round(float(answer["rating"]))))
        except (ArithmeticError, ValueError):
            del answer["rating"]
    return answer


def marks_beside(photo: str, beside: Iterable[str]) -> dict:
    """The marks that a person gave a photo in its sidecars, see `marks_in`. `beside` has the names of files beside the
    photo, which need not be sidecars."""
    answer: dict = {}
    folder, name = os.path.split(photo)
    for sidecar in sidecars(name, beside) if beside else ():
        with contextlib.suppress(OSError, ValueError), open_file(os.path.join(folder, sidecar)) as file:
            answer |= marks_in(file.read(MAX_SIDECAR))
    return answer


def merge(old: bytes | None, marks: Marks) -> bytes:
    """The bytes of a sidecar with these marks; `old` are those of the one there is. Raises XmpError if that is no XMP,
    or cannot be merged."""
    try:
        return merged(old, marks)
    except XmpError:
        raise
    except Exception as error:
        raise XmpError(f"it cannot be merged: {first_line(error)}") from error


def merged(old: bytes | None, marks: Marks) -> bytes:
    document = parse(EMPTY if old is None else old)
    rdf = rdf_of(document)
    set_value(rdf, "rating", "xmp:Rating", str(marks.rating), free=("", "0"), force=marks.rating == -1)
    set_label(rdf, marks.label)
    for name in ("dc:subject", "digiKam:TagsList", "lr:hierarchicalSubject"):
        wanted = ("dc:subject", "digiKam:TagsList") if old is None else ("dc:subject",)  # Immich reads the second
        add_keywords(rdf, name, marks.keywords, create=name in wanted)
    declaration = old is None or old.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml")
    kind = doctype(document, old or b"")
    text = etree.tostring(document, encoding="UTF-8", xml_declaration=declaration, doctype=kind)
    if kind:
        parse(text)  # entities are still known
    return text if text.endswith(b"\n") else text + b"\n"


def rdf_of(document: etree._ElementTree):
    """The element that holds all properties."""
    rdf = document.getroot()
    rdf = rdf if rdf.tag == tag("rdf:RDF") else rdf.find(tag("rdf:RDF"))
    if rdf is None:
        raise XmpError("it has no rdf:RDF element")
    return rdf


def doctype(document: etree._ElementTree, data: bytes) -> str | None:
    """The document type of a sidecar, which declares entities; lxml itself writes none before a root with a prefix."""
    if document.docinfo.internalDTD is None:
        return None
    text = data.decode(document.docinfo.encoding)
    found = re.search(r"<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>", text, re.DOTALL)
    return found and found[0]


def parse(data: bytes) -> etree._ElementTree:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, remove_blank_text=False)
    try:
        return etree.fromstring(data, parser).getroottree()
    except etree.XMLSyntaxError as error:
        raise XmpError(f"it is no XML: {' '.join(error.msg.split())}") from None


def tag(name: str) -> str:
    """`prefix:name` as lxml spells it."""
    prefix, local = name.split(":")
    return f"{{{NAMES[prefix]}}}{local}"


def descriptions(rdf) -> list:
    return rdf.findall(tag("rdf:Description"))


def get(rdf, name: str) -> str | None:
    """A simple property, which may be an attribute or an element of any description."""
    for description in descriptions(rdf):
        if (value := description.get(tag(name))) is not None:
            return value
        if (element := description.find(tag(name))) is not None:
            return text_of(element)
    return None


def text_of(element) -> str:
    """The text of an element: comments and processing instructions do not count, an entity counts as its name."""
    parts = [element.text or ""]
    for child in element:
        parts += [child.text if child.tag is etree.Entity else "", child.tail or ""]
    return "".join(parts)


def set_text(element, value: str):
    """Replace the text of an element; its comments and processing instructions stay."""
    for child in list(element):
        child.tail = None
        if child.tag is etree.Entity:
            element.remove(child)
    element.text = value


def put(rdf, name: str, value: str):
    """Set a simple property where it is, or as an attribute of the first description."""
    for description in descriptions(rdf):
        if (element := description.find(tag(name))) is not None:
            set_text(element, value)
            return
        if description.get(tag(name)) is not None:
            description.set(tag(name), value)
            return
    first_with(rdf, name).set(tag(name), value)


def first_with(rdf, name: str):
    """The first description, made to know the prefix of a name."""
    prefix = name.split(":")[0]
    first = next(iter(descriptions(rdf)), None)
    if first is None:
        first = etree.SubElement(rdf, tag("rdf:Description"), {tag("rdf:about"): ""})
    if NAMES[prefix] in first.nsmap.values():
        return first
    known = {key: uri for key, uri in first.nsmap.items() if key not in (rdf.nsmap or {})}
    clone = etree.Element(first.tag, dict(first.attrib), nsmap={**known, prefix: NAMES[prefix]})
    clone.text, clone.tail = first.text, first.tail
    clone.extend(list(first))
    rdf.replace(first, clone)
    return clone


def drop(rdf, name: str):
    for description in descriptions(rdf):
        description.attrib.pop(tag(name), None)
        for element in description.findall(tag(name)):
            description.remove(element)


def set_value(rdf, note: str, name: str, value: str | None, free: tuple[str, ...] = ("",), force: bool = False) -> bool:
    """Set a property unless a person did, and note our value; None removes our value. Returns whether the property
    is ours now."""
    present, ours = get(rdf, name), get(rdf, f"abc_fusenet:{note}")
    if present is not None and present not in free and present != ours and not force:
        return False
    for each in (name, f"abc_fusenet:{note}"):
        if value is not None:
            put(rdf, each, value)
        elif ours is not None:
            drop(rdf, each)
    return True


def set_label(rdf, label: str | None):
    """The colour label, or none; where there are darktable's or digiKam's own, these, too, because they count more
    there."""
    earlier = get(rdf, "abc_fusenet:label")
    own = [element for d in descriptions(rdf) for element in d.findall(tag("darktable:colorlabels"))]
    theirs = [text_of(item) for element in own for item in element.iter(tag("rdf:li"))]
    ours = [str(DARKTABLE_LABELS.index(earlier))] if earlier in DARKTABLE_LABELS else []
    digikam = get(rdf, "digiKam:ColorLabel")
    free = {None, "", "0", *(str(number) for number, name in enumerate(DIGIKAM_LABELS) if name == earlier)}
    if theirs not in ([], ours) or digikam not in free or not set_value(rdf, "label", "xmp:Label", label):
        return
    if own:
        replace_items(
            own[0], "rdf:Seq", ours, [str(DARKTABLE_LABELS.index(label))] if label in DARKTABLE_LABELS else []
        )
    if digikam is not None and (label or "") in DIGIKAM_LABELS:
        put(rdf, "digiKam:ColorLabel", str(DIGIKAM_LABELS.index(label or "")))


def add_keywords(rdf, name: str, keywords: tuple[str, ...], create: bool):
    """Add to a list of keywords, in the place of those we added before."""
    element = next((each for d in descriptions(rdf) for each in d.findall(tag(name))), None)
    if element is None:
        if not create:
            return
        element = etree.SubElement(first_with(rdf, name), tag(name))
    replace_items(element, "rdf:Bag", [*XMP_COLORS, NOT_SURE, BEST_OF_BURST], keywords)


def replace_items(element, kind: str, old: Iterable[str], new: Iterable[str]):
    """Take values out of a list in an element, and append others; all else in it stays, and so does its kind."""
    items = next((child for child in element if isinstance(child.tag, str)), None)
    if items is None:
        items = etree.SubElement(element, tag(kind))
    tail = next((item.tail for item in items), None)
    present = {text_of(item): item for item in items.findall(tag("rdf:li"))}
    for value in {*old} & present.keys() - {*new}:
        remove(present[value])
    for value in [value for value in new if value not in present]:
        item = etree.SubElement(items, tag("rdf:li"))
        item.text, item.tail = value, tail


def remove(element):
    """Remove an element; text behind it stays, unless it is blank."""
    parent, before, text = element.getparent(), element.getprevious(), (element.tail or "").strip() and element.tail
    parent.remove(element)
    if text and before is not None:
        before.tail = (before.tail or "") + text
    elif text:
        parent.text = (parent.text or "") + text
