"""Commands at one sweep take turns; those at others do not wait."""

import subprocess
import sys
import threading
from pathlib import Path

from services.execution.turns import turn

HOLD = """
import sys, time
from services.execution.turns import turn
with turn(sys.argv[1], "s", lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_command_waits_until_the_first_has_ended_even_if_it_is_killed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    waiting, held = threading.Event(), threading.Event()

    def second() -> None:
        with turn(str(tmp_path), "s", waiting.set):
            held.set()

    try:
        assert child.stdout.readline() == "held\n"
        with turn(str(tmp_path), "other", waiting.set):
            assert not waiting.is_set()
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(20.0)
        assert not held.is_set()
    finally:
        child.kill()
        child.communicate()
    assert held.wait(20.0)
    thread.join()
