"""What `import services.client` costs."""

import subprocess
import sys

HEAVY = ("jax", "arviz", "xarray", "altair", "scipy", "pandas", "ray", "deltalake", "sqlalchemy", "fastapi", "httpx")
SAY = f"import sys, services.client; print(*(name for name in {HEAVY} if name in sys.modules))"


def test_the_client_is_imported_without_what_only_some_calls_need():
    said = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True)
    assert said.stdout.split() == []
