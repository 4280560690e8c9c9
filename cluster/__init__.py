"""How runs are executed: packs, resources, executors in this process and on Ray."""

import os

# Ray prints a raylet's errors ("a worker died ...") to standard output even with log_to_driver=False, into the middle
# of a table or a JSON document. It reads this when it is imported, which only modules below this line do.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
