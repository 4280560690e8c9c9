"""Launches as Ray jobs: the cluster keeps them, whichever scheduler asks."""

import json
from typing import TYPE_CHECKING

from services.launching.launcher import STOPPED, LaunchState, state_after
from services.launching.options import RunOptions
from services.sweeps.definition import parse_sweep

if TYPE_CHECKING:
    from cluster.jobs import Job, Jobs

_CANNOT_EXECUTE = (126, 127)  # by POSIX
_NO_INTERPRETER = "the cluster's head cannot execute the interpreter: let BASIN_CLUSTER_PYTHON name the one that it has"


class JobLauncher:
    """Submits `basin sweep run` to the cluster whose dashboard is at an address. The launch id makes the job's id."""

    place = None

    def __init__(self, address: str) -> None:
        """Launch at `http://HOST:PORT`; it is connected to when it is needed."""
        self._address = address
        self._connected: Jobs | None = None

    def launch(self, launch_id: str, sweep: str, options: RunOptions) -> None:
        """See `Launcher`."""
        from services.launching.sweep_job import submit, sweep_job

        job = sweep_job(parse_sweep(json.loads(sweep)), options.store, workers=options.workers, gpus=options.gpus)
        submit(self._jobs(), _job_id(launch_id), job)

    def state(self, launch_id: str) -> LaunchState | None:
        """See `Launcher`."""
        job = self._jobs().find(_job_id(launch_id))
        return job and state_of(job, f"basin jobs logs {job.id} --address {self._address}")

    def stop(self, launch_id: str) -> None:
        """See `Launcher`."""
        self._jobs().stop(_job_id(launch_id))

    def _jobs(self) -> "Jobs":
        from cluster.jobs import Jobs

        if self._connected is None:
            self._connected = Jobs(self._address)
        return self._connected


def state_of(job: "Job", log: str) -> LaunchState:
    """What became of a sweep's job, and why; `log` says where all that it printed is."""
    if job.state == "stopped":
        return STOPPED
    if job.state != "failed":
        return LaunchState(job.state)
    if job.exit_code is None:  # the machine or Ray, and not the command: a line of what, and then of where in Ray
        what = next(filter(None, map(str.strip, job.message.splitlines())), "Ray does not say why")
        return LaunchState("failed", f"{what[:500]}; log: {log}")
    if job.exit_code in _CANNOT_EXECUTE:
        return LaunchState("failed", _NO_INTERPRETER)
    return state_after(job.exit_code, job.message, log)


def _job_id(launch_id: str) -> str:
    """As `basin jobs list` knows the jobs of sweeps."""
    from services.launching.sweep_job import PREFIX

    return f"{PREFIX}{launch_id}"
