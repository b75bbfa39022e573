import pytest

from abc_hf.library.companions import Folder, core, renamed


@pytest.mark.parametrize(
    ("photo", "names"),
    [
        ("IMG_1.JPG", ["IMG_1.AAE", "IMG_1.JPG.dop", "IMG_1.JPG.pp3", "IMG_1.MOV", "IMG_1.acr", "IMG_1_01.JPG.xmp"]),
        ("IMG_1.HEIC", ["IMG_1.MOV", "IMG_O1.AAE"]),
        ("dsc_1.jpg", ["DSC_1.JPG.XMP", "dsc_1.xmp"]),
        ("a.jpg", ["a.jpg.json", "a.jpg.supplemental-metadata.json"]),
        ("a.jpg", ["a.jpg.suppl.json", "a.jpg_original"]),
        ("PXL_1.MP.jpg", ["PXL_1.MP"]),
        ("PXL_1.PORTRAIT-01.COVER.jpg", ["PXL_1.PORTRAIT-02.ORIGINAL.jpg"]),
        ("PXL_1.RAW-01.COVER.jpg", ["PXL_1.RAW-02.ORIGINAL.dng"]),
        ("a.CR3", ["CaptureOne/Settings153/a.CR3.cos", "a.vrd"]),
    ],
)
def test_what_belongs_to_a_photo(photo, names):
    others = ["IMG_10.AAE", "IMG_1.psd", "b.xmp", "a.txt", "dsc_11.xmp", "PXL_10.MP", photo]
    assert Folder([*names, *others]).companions(photo) == sorted(names)


def test_files_that_begin_like_a_photo_and_stay():
    folder = Folder(["IMG_1.psd", "IMG_1.xmp", "IMG_1.png", "IMG_10.psd", "IMG_1.v2.txt"])
    assert folder.strangers("IMG_1.JPG") == ["IMG_1.psd", "IMG_1.v2.txt"]


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("IMG_1.JPG", "IMG_1-2.JPG"),
        ("img_1.xmp", "img_1-2.xmp"),
        ("IMG_1_01.JPG.xmp", "IMG_1-2_01.JPG.xmp"),
        ("IMG_O1.AAE", "IMG_O1-2.AAE"),
        ("CaptureOne/Settings153/IMG_1.JPG.cos", "CaptureOne/Settings153/IMG_1-2.JPG.cos"),
    ],
)
def test_a_number_comes_behind_what_all_files_of_a_shot_share(name, new):
    assert renamed(name, "IMG_1.JPG", "-2") == new
    assert core("PXL_1.RAW-01.COVER.jpg") == "PXL_1"


def test_sidecars_in_folders_of_their_own_are_found(tmp_path):
    for name in ("a.CR3", "CaptureOne/Settings153/a.CR3.cos", "NKSC_PARAM/b.NEF.nksc", "CaptureOne/Cache/a.CR3.cot"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert Folder.of(tmp_path).companions("a.CR3") == ["CaptureOne/Settings153/a.CR3.cos"]
    assert Folder.of(tmp_path).companions("b.NEF") == ["NKSC_PARAM/b.NEF.nksc"]
    assert Folder.of(tmp_path / "gone").companions("b.NEF") == []
