"""A Slurm cluster of two nodes on this machine, for as long as a block lasts; afterwards nothing of it is left."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from helpers.provenance import SLURM_NODE

CONFIGURATION = Path("/etc/slurm/slurm.conf")  # Slurm's default: a step of a job looks nowhere else
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol")
PACKAGES = ("slurm-wlm", "munge")
MARK = "CELLSCALE_CLUSTER"  # in the environment of all that belongs to a cluster: its folder; beside it the node
NODES = ("n1", "n2")
# Memory is what the nodes say, not what the machine has; a node is lost when it has not answered for 15 s, and a job
# that was on it may start again as soon as its credential has expired.
TEMPLATE = """# of make test-cluster, process {process}, in {root}
ClusterName=cellscale
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=1,sched_min_interval=500000,sched_interval=5
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
ReturnToService=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=16000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=16000
PartitionName=both Nodes=n[1-2] Default=YES MaxTime=60 State=UP
"""


class ClusterError(RuntimeError):
    """What a cluster on this machine lacks, or what became of it."""


def install() -> str:
    """Install Slurm and MUNGE with apt if they are not there; what was done in words. Raises ClusterError if it may not
    be done.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing:
        return "were there already"
    why = f"{', '.join(missing)} not found; they are in the packages {' and '.join(PACKAGES)} of Debian and Ubuntu"
    if shutil.which("apt-get") is None:
        raise ClusterError(f"{why}, and there is no apt-get to install them with")
    may = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if may and subprocess.run([*may, "true"], capture_output=True, timeout=20, check=False).returncode:
        raise ClusterError(f"{why}, and installing them takes root, or sudo without a password")
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        command = [*may, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise ClusterError(f"{' '.join(command)} failed:\n{done.stdout[-500:]}{done.stderr[-1000:]}")
    return "were installed, and stay so"


@contextlib.contextmanager
def two_nodes(root: Path) -> Iterator[dict[str, str]]:
    """Start MUNGE, the controller and a daemon for each of `NODES`, with all their files in `root`, a temporary folder;
    yields the environment for its commands. At the end all processes are ended, and the configuration is removed.

    Raises ClusterError if this user may not do that, if this machine has a Slurm of its own, or if a node does not
    come up.
    """
    if os.geteuid() != 0:
        raise ClusterError(f"{CONFIGURATION} is Slurm's default path, and to write there and start daemons takes root")
    clear()
    environment, folder = os.environ | {MARK: str(root)}, root / "slurm"
    ports = dict(zip(("controller", "first", "second"), _free_ports(3), strict=True))
    text = TEMPLATE.format(process=os.getpid(), root=root, folder=folder, host=socket.gethostname(), **ports)
    daemons: list[subprocess.Popen] = []
    made = [path for path in (CONFIGURATION.parent,) if not path.exists()]
    for name in ("", "state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    try:
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.write_text(text)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        munged = ["munged", "--foreground", f"--socket={folder}/munge.socket", *files]
        daemons.append(_start(munged, folder, environment))
        _wait_for(lambda: (folder / "munge.socket").exists(), "munged", folder, daemons)
        daemons.append(_start(["slurmctld", "-D"], folder, environment))
        for node in NODES:
            daemons.append(_start(["slurmd", "-D", "-N", node], folder, environment | {SLURM_NODE: node}))
        _wait_for(lambda: states(environment) == dict.fromkeys(NODES, "IDLE"), "the nodes", folder, daemons)
        yield environment
    finally:
        _end(root)
        for daemon in daemons:
            daemon.wait(10)
        for path in made:
            path.rmdir()


def clear() -> None:
    """End what an earlier cluster left that was killed itself. Raises ClusterError for any other Slurm."""
    if not CONFIGURATION.exists():
        return
    found = re.match(r"# of make test-cluster, process (\d+), in (.+)\n", CONFIGURATION.read_text())
    if found is None:
        raise ClusterError(f"{CONFIGURATION} is there: this machine has a Slurm of its own, which is left alone")
    if psutil.pid_exists(int(found[1])):
        raise ClusterError(f"another make test-cluster runs here, process {found[1]}")
    _end(Path(found[2]))
    shutil.rmtree(found[2], ignore_errors=True)


def _end(root: Path) -> None:
    """Kill all that belongs to the cluster in `root`, and remove its configuration."""
    left = belonging(root)
    _kill([*_supervisors(left), *left])
    CONFIGURATION.unlink(missing_ok=True)


def kill_node(node: str, root: Path) -> int:
    """Kill the daemon of a node with SIGKILL and then all that ran on it, as when it loses power, so that nobody tells
    the controller; returns the process id of the daemon.
    """
    on_node = belonging(root, node)
    daemon = next((process for process in on_node if process.name() == "slurmd"), None)
    if daemon is None:
        raise ClusterError(f"slurmd of {node} ended by itself")
    _kill([daemon, *_supervisors(on_node), *on_node])
    return daemon.pid


def belonging(root: Path, node: str | None = None) -> list[psutil.Process]:
    """Processes that belong to the cluster in `root`, or to one of its nodes, by their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            own = process.environ()
            if own.get(MARK) == str(root) and node in (None, own.get(SLURM_NODE)) and process.pid != os.getpid():
                found.append(process)
    return found


def _supervisors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The slurmstepd of each job or step among `processes`; these overwrite their environment with their name."""
    parents = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            parents.append(process.parent())
    return [parent for parent in parents if parent is not None and parent.name() == "slurmstepd"]


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def states(environment: dict[str, str]) -> dict[str, str]:
    """State of each node, as far as the controller tells."""
    told = ask(["sinfo", "--noheader", "--Node", "--format=%N %T"], environment)
    return {node: state.upper() for node, state in map(str.split, told.splitlines())}


def jobs(environment: dict[str, str]) -> list[dict[str, str]]:
    """All jobs, also those that have ended, as the controller tells of them."""
    lines = [line for line in ask(["scontrol", "show", "job", "-o"], environment).splitlines() if "JobId=" in line]
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def ask(command: list[str], environment: dict[str, str]) -> str:
    """What a command of Slurm answers, empty if it does not."""
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def _start(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    with (folder / f"{command[0]}.out").open("a") as out:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder)


def _wait_for(condition: Callable[[], bool], what: str, folder: Path, daemons: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
            told = [f"{path.name}: {path.read_text()[-1000:]}" for path in sorted(folder.glob("*.[lo][ou][gt]"))]
            raise ClusterError("\n".join([f"{what} did not come up:", *told]))
        time.sleep(0.2)


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
