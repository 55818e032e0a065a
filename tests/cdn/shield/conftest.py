"""The house of a site, for all tests of the shield."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def house() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "house.py"
    if "cdn_house" not in sys.modules:
        spec = importlib.util.spec_from_file_location("cdn_house", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["cdn_house"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["cdn_house"])
    return sys.modules["cdn_house"]
