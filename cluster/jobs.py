"""Ray jobs by way of a cluster's dashboard: submitted once for each id, followed, stopped."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import aiohttp
import ray
import requests
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue] - compiled
from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.errors import ClusterError

STOP_SECONDS = 60  # between SIGTERM and SIGKILL; Ray's own 3 are too few to write down what is finished
_ANSWER_SECONDS = 60.0
_NOT_YET = "No available agent to submit job"  # what a cluster says that has just been started
_SILENCE_SECONDS = 60.0  # after which a log that says nothing is asked for again: its connection may be dead
_PATIENCE_SECONDS = 300.0

# They tell of every upload.
for _name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
    logging.getLogger(f"ray.{_name}").setLevel(logging.WARNING)

State = Literal["pending", "running", "succeeded", "failed", "stopped"]


class UnreachableError(ClusterError):
    """The cluster does not answer now, and may do so later."""


@dataclass(frozen=True)
class Job:
    """A job as its cluster knows it.

    Attributes:
        id: its submission id.
        message: what Ray says of its state; the end of the log where it failed.
        exit_code: of its command, once that ended by itself.
    """

    id: str
    state: State
    message: str
    started: datetime | None
    ended: datetime | None
    exit_code: int | None

    @property
    def over(self) -> bool:
        """Whether it will not run any more."""
        return self.state in ("succeeded", "failed", "stopped")


class Jobs:
    """The jobs of one cluster.

    The cluster's token is sent along where there is one: in RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names,
    or in `~/.ray/auth_token`. All methods raise `ClusterError` where the cluster cannot be reached or refuses.
    """

    def __init__(self, address: str, timeout: float = 10.0):
        """Connect to the dashboard at `http://HOST:PORT`, which must answer within some `timeout` seconds.

        Raises:
            ClusterError: nothing answers there, it is no dashboard of Ray, it wants another token, or it runs another
                version of Ray.
        """
        self.address = (address if "://" in address else f"http://{address}").rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise ClusterError(f"address {address!r} is not of the form http://HOST:PORT (Ray's dashboard, 8265)")
        with self._told():
            self._client = _Client(self.address)
            version = self._client.version(timeout)
        if version is None:
            raise ClusterError(f"what answers at {self.address} is not the dashboard of a Ray cluster")
        if version != ray.__version__:
            raise ClusterError(
                f"the cluster at {self.address} runs Ray {version}, and this is {ray.__version__}: install the same "
                "version here and there"
            )

    def submit(self, job_id: str, entrypoint: str, folder: Path, env: Mapping[str, str]) -> bool:
        """Submit a job unless there is one of this id: then return False, and nothing happens.

        Args:
            job_id: tells it from all others of the cluster.
            entrypoint: a shell command; SIGTERM asks it to end, `STOP_SECONDS` before SIGKILL does.
            folder: its files, which travel; it runs in a copy of it, on the cluster's head.
            env: variables of the command and of its workers, to be seen by everybody who can see the dashboard.
        """
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **env}
        until = time.monotonic() + _ANSWER_SECONDS
        while self.find(job_id) is None:
            try:
                with self._told():
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=job_id,
                        runtime_env={"working_dir": str(folder), "env_vars": variables},
                    )
                return True
            except ClusterError as error:
                # Another submitter was faster, which Ray reports as a fault of its own; or the answer got lost.
                if self.find(job_id) is not None:
                    break
                if _NOT_YET not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(1.0)
        return False

    def find(self, job_id: str) -> Job | None:
        """The job of this id; None where the cluster knows of none."""
        with self._told():
            details = self._client.details(job_id)
        return None if details is None else _job(details)

    def get(self, job_id: str) -> Job:
        """The job of this id.

        Raises:
            ClusterError: the cluster knows of none.
        """
        job = self.find(job_id)
        if job is None:
            raise ClusterError(
                f"the cluster at {self.address} has no job {job_id!r}: `basin jobs list` has those that it knows; it "
                "forgets them when its head is restarted"
            )
        return job

    def list(self, prefix: str) -> list[Job]:
        """The jobs whose ids begin so, the latest first."""
        with self._told():
            known = self._client.list_jobs()
        mine = [details for details in known if (details.submission_id or "").startswith(prefix)]
        return [_job(details) for details in sorted(mine, key=lambda details: -(details.start_time or 0))]

    def follow(self, job_id: str, write: Callable[[str], None], patience: float = _PATIENCE_SECONDS) -> Job:
        """Write the job's log as it grows, all of it and nothing twice, until the job is over.

        A dropped connection is made anew; after `patience` seconds without any it is given up.
        """
        seen = 0

        def take(text: str) -> None:
            nonlocal seen
            seen += len(text)
            write(text)

        reached = time.monotonic()
        while True:
            try:
                job = self.get(job_id)
                if job.over:
                    with self._told():
                        take(self._client.get_job_logs(job_id)[seen:])
                    return job
                reached = time.monotonic()
                asyncio.run(self._tail(job_id, seen, take))
            except UnreachableError as error:
                if time.monotonic() - reached > patience:
                    raise UnreachableError(f"job {job_id!r} was lost sight of, and may go on: {error}") from None
            time.sleep(0.5)

    async def _tail(self, job_id: str, skip: int, write: Callable[[str], None]) -> None:
        """Write the log from its character `skip` on until the job is over, or the connection breaks."""
        try:
            async with (
                aclosing(self._client.tail_job_logs(job_id)) as log,  # pyright: ignore[reportArgumentType] - a generator
                asyncio.timeout(_SILENCE_SECONDS) as limit,
            ):
                async for text in log:
                    limit.reschedule(asyncio.get_running_loop().time() + _SILENCE_SECONDS)
                    if len(text) > skip:
                        write(text[skip:])
                    skip = max(0, skip - len(text))
        except (aiohttp.ClientError, TimeoutError, RuntimeError):  # Ray raises the last where it closes too early
            return

    def stop(self, job_id: str) -> None:
        """Ask a job to end, and return; one that is over stays as it is.

        Raises:
            ClusterError: there is none of this id.
        """
        self.get(job_id)
        with self._told():
            self._client.stop_job(job_id)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what Ray's client and HTTP raise into one message.

        Raises:
            ClusterError: always in their place.
        """
        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(_refused(self.address, str(error))) from None
        except requests.exceptions.SSLError:
            raise ClusterError(
                f"what listens at {self.address} does not speak HTTPS as it should: try http://"
            ) from None
        except requests.Timeout:
            raise UnreachableError(
                f"the dashboard at {self.address} did not answer in time: check that the cluster runs, and can be "
                "reached from here"
            ) from None
        except requests.ConnectionError as error:
            raise UnreachableError(_unreachable(self.address, str(error))) from None
        except (requests.RequestException, RuntimeError, ValueError) as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
            raise ClusterError(f"the cluster at {self.address} refused: {said[-1] if said else error!r}") from None


class _Client(JobSubmissionClient):
    """Ray's client, with a time limit, and for the address that it is given, which RAY_ADDRESS overrides in Ray's."""

    def __init__(self, address: str):
        # Not JobSubmissionClient's own, which asks the environment for the address.
        SubmissionClient.__init__(self, address, headers=_token_header())
        self._ssl_context = True  # certificates are checked; None, as Ray has it, will not be taken for that for long

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", _ANSWER_SECONDS)
        return super()._do_request(method, endpoint, **options)

    def version(self, timeout: float) -> str | None:
        """Ray's on the cluster; None where it is no cluster."""
        reply = self._do_request("GET", "/api/version", timeout=timeout)
        try:
            return str(reply.json()["ray_version"])
        except (ValueError, LookupError, TypeError):
            return None

    def details(self, job_id: str) -> JobDetails | None:
        """What the cluster knows of a job."""
        reply = self._do_request("GET", f"/api/jobs/{job_id}")
        if reply.status_code == requests.codes.not_found:
            return None
        reply.raise_for_status()
        return JobDetails(**reply.json())


def _token_header() -> dict[str, str]:
    """Ray's client sends a token only where RAY_AUTH_MODE is set, and clusters ask for one where it is not, too."""
    loader = AuthenticationTokenLoader.instance()
    try:
        if not loader.has_token(ignore_auth_mode=True):
            return {}
        return dict(loader.get_token_for_http_header(ignore_auth_mode=True))
    finally:
        # What is read in no mode is kept, and a Ray that this process connects to later would refuse its workers.
        loader.reset_cache()


def _refused(address: str, reason: str) -> str:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if "cannot be opened" in reason:
        return f"RAY_AUTH_TOKEN_PATH names {path!r}, which cannot be read or is empty: put the cluster's token there"
    remedy = "set RAY_AUTH_TOKEN to the cluster's, or RAY_AUTH_TOKEN_PATH to the file that holds it"
    if "nvalid" in reason:
        return f"the cluster at {address} does not take this token: {remedy}"
    return f"the cluster at {address} asks for its token: {remedy}"


def _unreachable(address: str, reason: str) -> str:
    if "NameResolution" in reason:
        return f"there is no host of the name in {address}"
    if "NewConnection" in reason:
        return (
            f"nothing answers at {address}: check that the cluster runs, and tunnel to its dashboard if that "
            "listens on the head's own address alone"
        )
    return (
        f"what listens at {address} does not speak HTTP, or hung up: give the port of the cluster's dashboard (8265 "
        "unless it was set), not of its GCS (6379) or of Ray Client (10001)"
    )


_STATES: Mapping[JobStatus, State] = {
    JobStatus.PENDING: "pending",
    JobStatus.RUNNING: "running",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "stopped",
}


def _job(details: JobDetails) -> Job:
    return Job(
        id=details.submission_id or "",
        state=_STATES[details.status],
        message=details.message or "",
        started=_time(details.start_time),
        ended=_time(details.end_time),
        exit_code=details.driver_exit_code,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
