"""Start ``python -m MODULE …`` from a process that has imported the libraries already.

Libraries such as scvi-tools take ten seconds to import, and a design has many notebooks, each with a runner and a
kernel of its own. On Linux the workflow keeps one server, which imports libraries, never the project's own code, and
forks for each start. ``python -m helpers.warm MODULE ARGUMENTS…`` then does what ``python -m MODULE ARGUMENTS…`` does:
same arguments, folder, environment, streams, signals and exit code. Without a server it becomes just that.
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
import warnings
from collections.abc import Sequence
from pathlib import Path

ADDRESS = "CELLSCALE_WARM"  # socket of the server, set by the workflow
USAGE = "CELLSCALE_USAGE"  # file for what the process used, as it is no descendant of the one that asks for it
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
)
LONGEST = 2**18  # bytes of a message
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>: a signal at the parent's end


def start_server(libraries: Sequence[str] = LIBRARIES) -> str | None:
    """Start a server that ends after this process; its address, or None where forking is not safe."""
    if sys.platform != "linux":
        return None
    address = str(Path(tempfile.mkdtemp(prefix="cs"), "warm"))  # in a folder of this user alone
    # matplotlib, imported early, must find what ipykernel would set; CUDA must stay untouched before a fork.
    settings = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    environment = dict.fromkeys(ONE_THREAD, "1") | settings | os.environ
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        os.set_inheritable(listener.fileno(), True)
        command = [
            sys.executable,
            "-m",
            "helpers.warm",
            "--serve",
            str(listener.fileno()),
            str(os.getpid()),
            *libraries,
        ]
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        os.posix_spawn(sys.executable, [*command, *libraries], environment, file_actions=quiet, setsid=True)
    return address


def serve(listener: socket.socket, parent: int, libraries: list[str]) -> str:
    """Fork for each request until the parent has ended; returns in a forked process, with the module to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.getppid() == parent:
        if not select.select([listener], [], [], 0 if libraries else 1)[0]:
            if libraries:
                with contextlib.suppress(ImportError):  # who needs it will be told
                    importlib.import_module(libraries.pop(0))
            continue
        connection, _ = listener.accept()
        message, descriptors, _, _ = socket.recv_fds(connection, LONGEST, 3)
        if _fork() == 0:
            listener.close()
            _supervise(connection, descriptors)
            return _take_over(json.loads(message), descriptors)
        connection.close()
        for descriptor in descriptors:
            os.close(descriptor)
    shutil.rmtree(Path(listener.getsockname()).parent)
    sys.exit()


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
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.argv[1:] = request["arguments"]
    return request["module"]


def _run(module: str) -> None:
    """Run a module as the main one and end the process, without the second it takes to free all libraries."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:  # noqa: BLE001 (told as the interpreter would)
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # as the forked processes of multiprocessing end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def start(module: str, arguments: list[str]) -> int:
    """Run a module in a process forked from the server, or in this one if there is no server; its exit code."""
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(os.environ.get(ADDRESS, ""))
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    request = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
    parent = os.getppid()
    while not select.select([connection], [], [], 1)[0]:
        if os.getppid() != parent:  # nobody waits any more: the supervisor sees this end and ends the process
            return 1
    try:
        answer = connection.recv(LONGEST)
    except ConnectionResetError:  # a signal came too late to be read; the answer stands behind
        answer = connection.recv(LONGEST)
    if not answer:
        sys.stderr.write(f"the process that {module} was forked from is gone\n")
        return 1
    told = json.loads(answer)
    if USAGE in os.environ:
        Path(os.environ[USAGE]).write_text(json.dumps(told))
    code = os.waitstatus_to_exitcode(told["status"])
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _run(serve(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]), sys.argv[4:]))
    else:
        sys.exit(start(sys.argv[1], sys.argv[2:]))
