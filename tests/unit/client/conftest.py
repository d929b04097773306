"""Fixtures of the client's tests: a fake SearchService on a real server, and flags as typed."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The fakes lie beside the tests, which are no package.
sys.path.insert(0, str(Path(__file__).parent))

from fake_search_service import FakeSearchService, serve

from nas_client import SearchClient
from nas_client.flags import SEARCH, Values, parse


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the registry of past searches out of the user's home."""
    home = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


@pytest.fixture
def service() -> FakeSearchService:
    return FakeSearchService()


@pytest.fixture
def endpoint(service: FakeSearchService) -> Iterator[str]:
    server, endpoint = serve(service)
    yield endpoint
    server.stop(0)


@pytest.fixture
def client(endpoint: str) -> Iterator[SearchClient]:
    with SearchClient(endpoint, patience_seconds=5) as client:
        yield client


@pytest.fixture
def search_values(tmp_path: Path) -> Callable[..., Values]:
    """Reads flags of `search` behind the ones every search needs."""

    def read(*words: str) -> Values:
        needed = ["--prebuilt_search_space=mnasnet", f"--root_output_dir={tmp_path / 'out'}"]
        return parse(SEARCH, [*needed, *words], program="cli")

    return read
