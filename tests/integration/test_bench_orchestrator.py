"""The benchmark of the orchestrator runs, on small sizes, and prints the figures it promises."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_orchestrator.py"


def test_small_benchmark_prints_every_figure(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, str(BENCHMARK), "--trials=20,60", "--workers=4"),
            *("--paced_trials=16", "--train_ms=5", "--held=24", "--held_seconds=0.2"),
            f"--directory={tmp_path}",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report["trials_per_s"]) == {"20", "60"}
    assert all(rate > 0 for rate in report["trials_per_s"].values())
    assert report["workers_held"] == 24
    for gap in ("gap_ms_p50", "gap_ms_p99"):
        assert report[gap]["saturated"] > 0
        assert report[gap]["paced"] > 0
    # Too few trials to compare a first thousand with a last one.
    assert report["cost_ratio"] is None
    assert {run["sqlite_journal_mode"] for run in report["saturated"]} == {"wal"}
    assert not list(tmp_path.iterdir())
