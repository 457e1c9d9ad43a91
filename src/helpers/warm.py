"""Start ``python -m MODULE …`` from a process that has imported the libraries already.

Libraries such as scvi-tools take ten seconds to import, and a design has many notebooks, each with a runner and a
kernel of its own. On Linux the workflow keeps one server, which imports libraries, never the project's own code, and
forks for each start. ``python -m helpers.warm MODULE ARGUMENTS…`` then does what ``python -m MODULE ARGUMENTS…`` does:
same arguments, folder, environment, streams, signals and exit code. Without a server it becomes just that.

What differs: limits, priority and hash seed are the server's, its libraries count as memory of every process, and files
that the module leaves open at its end are not flushed.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

PARENT = "CELLSCALE_PARENT"  # set by the workflow to its process id: when that process is gone, its notebooks stop too
ADDRESS = "CELLSCALE_WARM"  # socket of the server, set by the workflow
STARTER = "CELLSCALE_STARTER"  # process that waits for this start, if it may end before the start has begun
USAGE = "CELLSCALE_USAGE"  # file for what the process used, as it is no descendant of the one that asks for it
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# In the order in which the stages of a design need them; imported one by one while nobody waits.
LIBRARIES = (
    "papermill",
    "jupytext",
    "ipykernel.kernelapp",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.stats",
    "anndata",
    "matplotlib.pyplot",
    "scanpy",
    "sklearn.neighbors",
    "sklearn.linear_model",
    "seaborn",
    "torch",
    "safetensors.torch",
    "scvi.module",
    "transformers.models.bert.modeling_bert",
    "pytorch_metric_learning.losses",
)
LONGEST = 2**18  # bytes of a message
SHORT = 40  # characters that a folder for temporary files may have
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>: a signal at the parent's end


def start_server(libraries: Sequence[str] = LIBRARIES) -> str | None:
    """Start a server that ends after this process; its address, or None where forking is not safe."""
    if sys.platform != "linux":
        return None
    address = str(Path(tempfile.mkdtemp(prefix="cs", dir=short_folder()), "warm"))  # in a folder of this user alone
    atexit.register(shutil.rmtree, Path(address).parent, ignore_errors=True)  # should the server be killed
    # matplotlib, imported early, must find what ipykernel would set; CUDA must stay untouched before a fork.
    settings = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    environment = dict.fromkeys(ONE_THREAD, "1") | settings | os.environ
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        os.set_inheritable(listener.fileno(), True)
        own = [str(listener.fileno()), str(os.getpid())]
        command = [sys.executable, "-m", "helpers.warm", "--serve", *own, *libraries]
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        os.posix_spawn(sys.executable, command, environment, file_actions=quiet, setsid=True)
    return address


def serve(listener: socket.socket, parent: int, libraries: list[str]) -> str:
    """Fork for each request until the parent has ended; returns in a forked process, with the module to run."""
    while os.getppid() == parent:
        _forked_left()
        if not select.select([listener], [], [], 0 if libraries else 1)[0]:
            if libraries:
                with contextlib.suppress(Exception):  # who needs it will be told
                    importlib.import_module(libraries.pop(0))
            continue
        connection, _ = listener.accept()
        connection.settimeout(5)
        try:
            message, descriptors, _, _ = socket.recv_fds(connection, LONGEST, 3)
        except OSError:
            message, descriptors = b"", []
        connection.settimeout(None)
        if message and _fork() == 0:
            listener.close()
            _supervise(connection, descriptors)
            return _take_over(json.loads(message), descriptors)
        connection.close()
        for descriptor in descriptors:
            os.close(descriptor)
    folder = Path(listener.getsockname()).parent
    _tell_that_it_is_gone(parent)
    for _ in range(120):  # runners that were forked end when they see it; until then they may write there
        left = _forked_left()
        shutil.rmtree(folder, ignore_errors=True)
        if not left and not folder.exists():
            break
        time.sleep(0.5)
    sys.exit()


def _forked_left() -> bool:
    """Whether a forked process is left; those that ended are waited for, and what they used counts as ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def short_folder() -> str:
    """Where folders with sockets lie, whose paths are limited to about 100 characters: in that of the server, which is
    removed after the workflow even if it was killed, or among the temporary files.
    """
    folder = os.path.dirname(os.environ.get(ADDRESS, ""))
    if os.path.isdir(folder):
        return folder
    usual = tempfile.gettempdir()
    return "/tmp" if len(usual) > SHORT and os.path.isdir("/tmp") else usual


def _tell_that_it_is_gone(parent: int) -> None:
    """Write into the status of a workflow that ended without a word that it is gone; who else would know?"""
    from helpers import status

    if status.ROOT in os.environ:
        status.mark_gone(Path(os.environ[status.ROOT]), parent)


def _fork() -> int:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return os.fork()  # the allocator of pyarrow has a thread of its own, and bears it


def _supervise(connection: socket.socket, descriptors: list[int]) -> None:
    """Fork the process that was asked for, in which alone this returns; pass on signals to it, end it when the
    other side has gone, and tell how it ended.
    """
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    process = _fork()
    if process == 0:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (connection, ended, wake):
            one.close()
        return
    for descriptor in descriptors:  # a pipe ends with the process that was asked for
        os.close(descriptor)
    connection.send(b"started")
    with contextlib.suppress(ProcessLookupError, PermissionError):  # whoever comes first
        os.setpgid(process, process)
    while True:
        ready = select.select([connection, ended], [], [])[0]
        if connection in ready:
            number = connection.recv(1)
            if number:
                os.kill(process, number[0])
            else:
                os.killpg(process, signal.SIGKILL)
                os._exit(1)
        if ended in ready:
            ended.recv(LONGEST)
            gone, status, usage = os.wait4(process, os.WNOHANG)
            if gone:
                told = {"status": status, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_kb": usage.ru_maxrss}
                connection.send(json.dumps(told).encode())
                os._exit(0)


def _take_over(request: dict, descriptors: list[int]) -> str:
    """Make a forked process the one that was asked for; returns the module to run."""
    gc.freeze()  # or the first collection would copy all memory that is shared with the server
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number in PASSED_ON:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    if "numpy" in sys.modules:  # or all unseeded draws would be the same everywhere
        sys.modules["numpy"].random.seed()
    sys.path[0] = request["folder"]
    sys.argv[1:] = request["arguments"]
    return request["module"]


def _run(module: str) -> None:
    """Run a module as the main one and end the process, without the second it takes to free all libraries."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:  # noqa: BLE001 (told as the interpreter would)
        sys.excepthook(*sys.exc_info())
        code = -signal.SIGINT if isinstance(sys.exception(), KeyboardInterrupt) else 1
    threading._shutdown()  # as the forked processes of multiprocessing end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    _end(code)


def start(module: str, arguments: list[str]) -> None:
    """Run a module in a process forked from the server, or in this one if there is no server, and end as it ends."""
    cold = [sys.executable, "-m", module, *arguments]
    workflow = int(os.environ.get(PARENT, os.getpid()))
    parent = int(os.environ.pop(STARTER, os.getppid()))
    ignored = [number for number in PASSED_ON if signal.getsignal(number) == signal.SIG_IGN]
    umask = os.umask(0)
    os.umask(umask)
    request = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    request |= {"ignored": ignored, "umask": umask}
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(os.environ.get(ADDRESS, ""))
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        for number in set(PASSED_ON) - set(ignored):
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        if not connection.recv(LONGEST):
            os.execv(sys.executable, cold)
    except OSError:  # no server, one that is gone, or an environment too large for a message
        if ADDRESS in os.environ:
            from helpers.status import alive

            if not alive(workflow):
                sys.exit(f"the workflow that asked for {module} is gone")
        os.execv(sys.executable, cold)
    while not select.select([connection], [], [], 1)[0]:
        if os.getppid() != parent:  # nobody waits any more: the supervisor sees this end and ends the process
            os._exit(1)
    try:
        answer = connection.recv(LONGEST)
    except ConnectionResetError:  # a signal came too late to be read; the answer stands behind
        answer = connection.recv(LONGEST)
    if not answer:
        sys.exit(f"the process that {module} was forked from is gone")
    told = json.loads(answer)
    if USAGE in os.environ:
        Path(os.environ[USAGE]).write_text(json.dumps(told))
    _end(os.waitstatus_to_exitcode(told["status"]))


def _end(code: int) -> None:
    """End this process at once, with an exit code, or by a signal if it is negative."""
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _run(serve(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]), sys.argv[4:]))
    else:
        start(sys.argv[1], sys.argv[2:])
