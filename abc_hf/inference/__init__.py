"""Loading weights, and running them."""


def __getattr__(name: str):
    if name == "Assess":  # it also reads archives and sidecars, as `abc_hf.library` does
        from ..library.assess import Assess

        return Assess
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
