import sys

import pytest

from abc_hf.common.imports import after_import


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """`toy_top.user` imports `toy_base.part`, and then takes a while. No trace of them or of a watcher is left."""
    for path, text in {
        "toy_base/__init__.py": "",
        "toy_base/part.py": "import toy_events; toy_events.log.append('part')",
        "toy_base/broken.py": "import toy_base.part\nraise ValueError",
        "toy_top/__init__.py": "",
        "toy_top/user.py": "import toy_base.part, toy_events; toy_events.log.append('user')",
        "toy_events.py": "log = []",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    import toy_events

    yield toy_events.log
    for name in [name for name in sys.modules if name.startswith("toy_")]:
        del sys.modules[name]


def wait(log):
    after_import("toy_base.part", {"toy_base", "toy_top"}, lambda: log.append("action"))


def test_at_once_where_it_is_imported_already(packages):
    import toy_base.part  # noqa: F401

    finders = [*sys.meta_path]
    wait(packages)
    assert packages == ["part", "action"] and sys.meta_path == finders


def test_later_and_once(packages):
    finders = [*sys.meta_path]
    wait(packages)
    assert packages == []
    import toy_base.part  # noqa: F401

    assert packages == ["part", "action"] and sys.meta_path == finders
    import toy_top.user  # noqa: F401

    assert packages == ["part", "action", "user"]


def test_not_during_the_import_of_a_module_that_needs_it(packages):
    wait(packages)
    import toy_top.user  # noqa: F401

    assert packages == ["part", "user", "action"]


def test_a_module_that_fails_is_no_longer_awaited(packages):
    wait(packages)
    with pytest.raises(ValueError):
        import toy_base.broken  # noqa: F401
    assert packages == ["part"]
    import toy_top  # noqa: F401

    assert packages == ["part", "action"]
