"""The notebooks run from their first cell to their last, with as few and as short trials as will do."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", ["mnasnet_classification", "spinenet_detection"])
def test_a_notebook_runs_from_data_to_exported_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_NOTEBOOK_DIR", str(tmp_path))
    monkeypatch.setenv("NAS_NOTEBOOK_TRIALS", "1")
    monkeypatch.setenv("NAS_NOTEBOOK_TRAIN_CONFIG", _SHORT[name])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "a notebook is committed without outputs"
    client = NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    client.execute()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 4
    assert list(tmp_path.glob("*/exported/**/saved_model.pb"))


_SHORT = {
    "mnasnet_classification": "mnasnet_fast_testing.yaml",
    "spinenet_detection": "fast_nas_detection_spinenet_search_for_testing.yaml",
}
