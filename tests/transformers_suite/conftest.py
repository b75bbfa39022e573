"""transformers' own tests are collected for slow runs only: merely importing them takes the sdist of its release."""


def pytest_ignore_collect(collection_path, config):
    return config.getoption("markexpr") == "not slow" or None
