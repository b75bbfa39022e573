import json
import shutil
import subprocess

import pytest
from lxml import etree

from abc_hf.library.xmp import NAMES, Marks, XmpError, marks_beside, marks_in, merge, sidecars
from tests.library.sort_toys import sort_row

MARKS = Marks(4, "Green", ("good-blur",))
DARKTABLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:darktable="http://darktable.sf.net/"
    exif:DateTimeOriginal="2026:05:01 12:00:00.000"
    xmp:Rating="0"
    xmpMM:DerivedFrom="IMG_0001.CR3"
    darktable:xmp_version="5"
    darktable:auto_presets_applied="1"
    darktable:history_end="2"
    darktable:iop_order_version="4">
   <darktable:masks_history>
    <rdf:Seq/>
   </darktable:masks_history>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="rawprepare"
      darktable:enabled="1"
      darktable:params="gz09eJwDAAAAAAE="/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
LIGHTROOM = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
   xmp:Rating="3"
   xmp:Label="Purple"
   crs:Exposure2012="+0.35">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Sm\xc3\xa5land</rdf:li>
     <rdf:li>A &amp; B</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Places|Sm\xc3\xa5land</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
DIGIKAM = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/" digiKam:ColorLabel="0" digiKam:PickLabel="0"
    MicrosoftPhoto:Rating="0">
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>People/Anna</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   <xmp:Rating>0</xmp:Rating>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def values(data: bytes, name: str) -> list[str]:
    """A property's values, wherever RDF may write them."""
    root = etree.fromstring(data)
    found = root.xpath(f"//rdf:Description/@{name} | //rdf:Description/{name}[not(*)]/text()", namespaces=NAMES)
    return [str(each) for each in found] + root.xpath(f"//{name}/*/rdf:li/text()", namespaces=NAMES)


def foreign(data: bytes) -> list[str]:
    """Each attribute, text and comment of a sidecar that is neither ours nor one of the three that we may change."""
    changed = {f"{{{NAMES[p]}}}{n}" for p, n in (("xmp", "Rating"), ("xmp", "Label"), ("dc", "subject"))}
    changed |= {f"{{{NAMES['digiKam']}}}{name}" for name in ("TagsList", "ColorLabel")}
    changed |= {f"{{{NAMES['lr']}}}hierarchicalSubject"}
    facts = []

    def walk(element, path):
        if element.tag in changed:
            return
        path = f"{path}/{element.tag}"
        for name, value in element.attrib.items():
            if name not in changed and NAMES["abc_fusenet"] not in name:
                facts.append(f"{path}@{name}={value}")
        if (element.text or "").strip():
            facts.append(f"{path}={element.text.strip()}")
        for child in element:
            walk(child, path)

    walk(etree.fromstring(data), "")
    return facts


@pytest.mark.parametrize("old", [DARKTABLE, LIGHTROOM, DIGIKAM], ids=["darktable", "lightroom", "digikam"])
def test_what_others_wrote_stays(old):
    new = merge(old, MARKS)
    assert foreign(new) == foreign(old) and foreign(old)
    for prefix in (b"exif:", b"crs:", b"digiKam:", b"darktable:", b"MicrosoftPhoto:", b"x:xmpmeta"):
        assert new.count(prefix) >= old.count(prefix)  # with the prefixes they chose
    assert b"ns0:" not in new
    assert merge(new, MARKS) == new  # a second time changes nothing
    assert "good-blur" in values(new, "dc:subject")


def test_a_new_sidecar():
    new = merge(None, Marks(5, "Blue", ("no-blur", "best-of-burst")))
    assert new.startswith(b"<?xml")
    assert values(new, "xmp:Rating") == ["5"] and values(new, "xmp:Label") == ["Blue"]
    assert values(new, "dc:subject") == ["no-blur", "best-of-burst"] == values(new, "digiKam:TagsList")
    changed = merge(new, Marks(1, "Red", ("bad-blur",)))  # ours is replaced by ours
    assert values(changed, "xmp:Rating") == ["1"] and values(changed, "xmp:Label") == ["Red"]
    assert values(changed, "dc:subject") == ["bad-blur"]


def test_a_person_s_rating_and_label_are_kept():
    new = merge(LIGHTROOM, MARKS)
    assert values(new, "xmp:Rating") == ["3"] and values(new, "xmp:Label") == ["Purple"]
    rated = merge(None, MARKS).replace(b'xmp:Rating="4"', b'xmp:Rating="2"')
    assert values(merge(rated, Marks(5, "Blue", ())), "xmp:Rating") == ["2"]
    rejected = merge(LIGHTROOM, Marks(-1, "Red", ("bad-blur",)))  # the photographer's own decision
    assert values(rejected, "xmp:Rating") == ["-1"]


def test_keywords_go_to_the_lists_that_programs_read_first():
    new = merge(LIGHTROOM, MARKS)
    assert values(new, "dc:subject") == ["Småland", "A & B", "good-blur"]
    assert values(new, "lr:hierarchicalSubject") == ["Places|Småland", "good-blur"]
    assert new.startswith(b"<?xpacket begin=") and new.rstrip().endswith(b'<?xpacket end="w"?>')
    new = merge(DIGIKAM, MARKS)
    assert values(new, "digiKam:TagsList") == ["People/Anna", "good-blur"]
    assert values(new, "xmp:Rating") == ["4"]
    assert b"<xmp:Rating>4</xmp:Rating>" in new  # where it was
    assert values(merge(DARKTABLE, MARKS), "lr:hierarchicalSubject") == []


def test_digikam_s_own_label():
    """digiKam looks at it first, so that its 0 would hide ours."""
    new = merge(DIGIKAM, MARKS)
    assert values(new, "digiKam:ColorLabel") == ["4"] and values(new, "xmp:Label") == ["Green"]
    assert values(merge(new, Marks(1, "Red", ())), "digiKam:ColorLabel") == ["1"]
    magenta = DIGIKAM.replace(b'ColorLabel="0"', b'ColorLabel="6"')
    assert (
        values(merge(magenta, MARKS), "digiKam:ColorLabel") == ["6"]
        and values(merge(magenta, MARKS), "xmp:Label") == []
    )


def test_darktable_s_own_labels():
    """darktable reads them after xmp:Label, so that an empty list would take ours away."""
    empty = DARKTABLE.replace(
        b"<darktable:history>", b"<darktable:colorlabels><rdf:Seq/></darktable:colorlabels>\n<darktable:history>"
    )
    new = merge(empty, MARKS)
    assert values(new, "darktable:colorlabels") == ["2"] and values(new, "xmp:Label") == ["Green"]
    assert values(merge(new, Marks(1, "Red", ())), "darktable:colorlabels") == ["0"]
    purple = empty.replace(
        b"<rdf:Seq/></darktable:colorlabels>", b"<rdf:Seq><rdf:li>4</rdf:li></rdf:Seq></darktable:colorlabels>"
    )
    new = merge(purple, MARKS)
    assert values(new, "darktable:colorlabels") == ["4"] and values(new, "xmp:Label") == []


@pytest.mark.parametrize("old", [b"", b"no XML", b"<a><b></a>", b"<html/>", DARKTABLE[:400]])
def test_what_is_no_sidecar_is_refused(old):
    with pytest.raises(XmpError, match="it "):
        merge(old, MARKS)


def test_entities_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    bomb = (
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'.encode() + merge(None, MARKS).split(b"\n", 1)[1]
    )
    assert b"secret</" not in merge(bomb.replace(b"good-blur", b"&e;"), MARKS)


def test_names(tmp_path):
    assert sidecars("a.jpg") == ["a.jpg.xmp"]
    assert sidecars("a.b.NEF") == ["a.b.NEF.xmp", "a.b.xmp"]
    assert sidecars("a.jpg", ["a.XMP", "b.xmp", "a_01.jpg.xmp"]) == ["a.XMP"]
    assert sidecars("A.JPG", ["A.JPG.XMP", "a.xmp"]) == ["A.JPG.XMP", "a.xmp"]
    assert sidecars("a.nef", ["a.XMP"]) == ["a.XMP", "a.nef.xmp"]


def test_what_a_person_said_is_told_from_ours(tmp_path):
    ours = merge(None, MARKS)
    assert marks_in(ours) == {}
    assert marks_in(ours.replace(b'xmp:Rating="4"', b'xmp:Rating="2"')) == {"rating": 2}
    assert marks_in(LIGHTROOM) == {"rating": 3, "color_label": "Purple"}
    assert marks_in(LIGHTROOM.replace(b'"3"', b'"-1"')) == {"rating": -1, "color_label": "Purple"}
    assert marks_in(LIGHTROOM.replace(b'"3"', b'"five"')) == {"color_label": "Purple"}
    (tmp_path / "A.JPG.XMP").write_bytes(LIGHTROOM)
    (tmp_path / "A.xmp").write_bytes(b"<damaged")
    photo = str(tmp_path / "A.JPG")
    assert marks_beside(photo, ["A.JPG.XMP", "A.xmp", "gone.xmp"]) == {"rating": 3, "color_label": "Purple"}
    assert marks_beside(photo, ()) == {}


def test_a_person_s_rating_inside_the_photo_is_repeated():
    row = sort_row("a.jpg", "bad-blur", rating=5, color_label="Purple")
    marks = Marks.of(row)
    assert (marks.rating, marks.label) == (5, "Purple")
    assert values(merge(None, marks), "xmp:Label") == ["Purple"]
    assert values(merge(DARKTABLE, marks), "xmp:Rating") == ["5"]


def test_stars_by_scores_of_one_s_own():
    for score, stars in ((0.1, 1), (0.2, 2), (0.39, 2), (0.4, 3), (0.99, 5)):
        assert Marks.of(sort_row("a.jpg", score=score), stars=(0.2, 0.4, 0.6, 0.8)).rating == stars


@pytest.mark.parametrize(("score", "stars"), [(0, 1), (0.1, 1), (0.3, 2), (0.5, 3), (0.9, 5), (1, 5)])
def test_stars_follow_the_score(score, stars):
    marks = Marks.of(sort_row("a.jpg", "ok-blur", score=score, burst_rank=1))
    assert marks == Marks(stars, "Yellow", ("ok-blur", "best-of-burst"))
    assert Marks.of(sort_row("a.jpg"), rejected=True).rating == -1


@pytest.mark.parametrize(
    ("label", "colour"), [("no-blur", "Blue"), ("good-blur", "Green"), ("ok-blur", "Yellow"), ("bad-blur", "Red")]
)
def test_only_a_certain_verdict_has_a_colour(label, colour):
    certain = Marks.of(sort_row("a.jpg", label))
    assert (certain.label, certain.keywords) == (colour, (label,))
    doubt = Marks.of(sort_row("a.jpg", label, between=f"{label} or another", burst_rank=1))
    assert (doubt.label, doubt.keywords) == (None, (label, "not sure", "best-of-burst"))


@pytest.mark.parametrize("old", [None, DARKTABLE, LIGHTROOM, DIGIKAM], ids=["new", "darktable", "lightroom", "digikam"])
def test_a_doubt_takes_our_colour_away_and_no_one_else_s(old):
    doubt = Marks(2, None, ("bad-blur", "not sure"))
    said = merge(merge(old, Marks(1, "Red", ("bad-blur",))), doubt)
    assert values(said, "xmp:Label") == (["Purple"] if old == LIGHTROOM else [])
    assert values(said, "digiKam:ColorLabel") == (["0"] if old == DIGIKAM else [])
    assert values(said, "dc:subject")[-2:] == ["bad-blur", "not sure"]
    assert b"Red" not in said and merge(said, doubt) == said
    again = merge(said, MARKS)  # certain again
    assert values(again, "xmp:Label") == (["Purple"] if old == LIGHTROOM else ["Green"])
    assert "not sure" not in values(again, "dc:subject")
    if old:
        assert foreign(said) == foreign(old)


def test_a_doubt_empties_darktable_s_own_list():
    own = b"<darktable:colorlabels><rdf:Seq><rdf:li>0</rdf:li></rdf:Seq></darktable:colorlabels>\n<darktable:history>"
    red = merge(DARKTABLE.replace(b"<darktable:history>", own.replace(b"<rdf:li>0</rdf:li>", b"")), Marks(1, "Red", ()))
    assert values(red, "darktable:colorlabels") == ["0"]
    assert values(merge(red, Marks(1, None, ())), "darktable:colorlabels") == []


def test_the_handed_sidecar():
    """A comment before the list, in which the first child of `dc:subject` was looked for."""
    old = b"""<?xml version="1.0"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description rdf:about=""><dc:subject><!-- my tags --><rdf:Bag>
 <rdf:li>x</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""
    new = merge(old, MARKS)
    assert values(new, "dc:subject") == ["x", "good-blur"] and b"<!-- my tags -->" in new


EXTRAS = {"comment": b"<!--kept-->", "instruction": b"<?kept this?>", "entity": b"&kept;"}


@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("old", [LIGHTROOM, DIGIKAM], ids=["lightroom", "digikam"])
def test_comments_instructions_and_entities_anywhere_are_kept(old, extra):
    """Behind each tag in turn, inside the root."""
    body = old[old.index(b"<x:xmpmeta") :]
    places = [place for place in range(body.index(b"</x:xmpmeta>")) if body[place - 1 : place] == b">"]
    assert len(places) >= 15
    for place in places:
        changed = b'<!DOCTYPE x:xmpmeta [<!ENTITY kept "text">]>' + body[:place] + extra + body[place:]
        new = merge(changed, MARKS)
        assert new.count(extra) == 1, changed[: place + 99]
        assert merge(new, MARKS) == new
        assert foreign(new.replace(extra, b"")) == foreign(old)
        assert merge(merge(new, Marks(1, "Red", ("bad-blur",))), MARKS).count(extra) == 1


def test_keywords_beside_comments_and_entities():
    old = merge(None, MARKS).replace(b"<rdf:li>good-blur", b"<rdf:li>a<!--1-->b</rdf:li><!--2--><rdf:li>good-blur")
    old = b'<!DOCTYPE x:xmpmeta [<!ENTITY e "text">]>' + old.split(b"\n", 1)[1].replace(
        b"</rdf:Bag>", b"<?x y?><rdf:li>&e;</rdf:li></rdf:Bag>"
    )
    new = merge(old, Marks(1, "Red", ("bad-blur", "best-of-burst")))
    assert b"<rdf:li>a<!--1-->b</rdf:li><!--2-->" in new and b"<?x y?><rdf:li>&e;</rdf:li>" in new
    assert b"good-blur" not in new and new.index(b"bad-blur</rdf:li>") < new.index(b"best-of-burst")


def test_a_person_s_rating_behind_a_comment_is_kept():
    old = DIGIKAM.replace(b"<xmp:Rating>0<", b"<xmp:Rating><!-- mine -->2<")
    assert b"<xmp:Rating><!-- mine -->2</xmp:Rating>" in merge(old, MARKS)
    rejected = merge(old, Marks(-1, "Red", ()))
    assert b"<xmp:Rating>-1<!-- mine --></xmp:Rating>" in rejected


@pytest.mark.parametrize("error", [TypeError("a\nb"), MemoryError(), RecursionError()])
def test_a_sidecar_that_cannot_be_merged_is_one_kind_of_error(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("abc_hf.library.xmp.add_keywords", fail)
    with pytest.raises(XmpError, match="it cannot be merged: (a|MemoryError|RecursionError)$"):
        merge(None, MARKS)


def test_an_unknown_encoding_is_refused():
    with pytest.raises(XmpError):
        merge(b"<?xml version='1.0' encoding='steam'?><x/>", MARKS)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
@pytest.mark.parametrize("old", [None, DARKTABLE, LIGHTROOM], ids=["new", "darktable", "lightroom"])
def test_exiftool_reads_the_marks(tmp_path, old):
    def read(name: str, data: bytes) -> dict:
        (tmp_path / name).write_bytes(data)
        names = ("Rating", "Label", "Subject", "TagsList")
        command = ["exiftool", "-j", "-struct", *(f"-XMP:{each}" for each in names), tmp_path / name]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]

    before = read("old.xmp", old) if old else {}
    found = read("new.xmp", merge(old, MARKS))
    assert found["Rating"] == (before.get("Rating") or MARKS.rating)
    assert found["Label"] == before.get("Label", MARKS.label)
    subjects = found["Subject"] if isinstance(found["Subject"], list) else [found["Subject"]]
    assert set(MARKS.keywords) <= set(subjects)
    assert old or found["TagsList"] in ("good-blur", ["good-blur"])
