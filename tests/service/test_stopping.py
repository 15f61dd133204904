"""A process that has closed everything ends at once."""

import subprocess
import sys
import threading

from dia.service.stopping import end_process

PROGRAM = """
import logging, sys
from dia.service.stopping import end_process

class Slow:
    def __del__(self):
        print("taken to pieces")

held = Slow()
logging.basicConfig(stream=sys.stdout)
logging.warning("closed")
sys.stdout.write("said")
end_process(3)
"""


def test_what_was_said_is_out_and_nothing_is_taken_to_pieces():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout == "WARNING:root:closed\nsaid"


def test_another_thread_ends_no_process():
    thread = threading.Thread(target=end_process)
    thread.start()
    thread.join()
