"""What the first start of the daemon costs, where nothing can be cached: as under the shipped systemd unit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import json, sys
import monitor.runtime.daemon
from prometheus_client import CollectorRegistry
from monitor.runtime.classifier import load_engine
from monitor.runtime.settings import load

classifier = load_engine(load(), CollectorRegistry())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "peak": int(status["VmHWM"].split()[0]) // 1024,
    "modules": [name for name in ("transformers", "torch._dynamo", "sympy") if name in sys.modules],
    "backend": classifier.engine.settings.backend,
}))
"""
MEGABYTES = 1300


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_first_start_stays_within_its_memory_without_a_cache(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
    done = subprocess.run(
        [sys.executable, "-c", START],
        env=kept | {"XDG_CACHE_HOME": str(in_the_way / "cache"), "MONITOR_MODELS__DEVICE": "cpu"},
        capture_output=True, text=True, timeout=170, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["backend"] != "auto", "the backends were measured"
    assert found["modules"] == [], "packages that the daemon does not need"
    assert found["peak"] < MEGABYTES
