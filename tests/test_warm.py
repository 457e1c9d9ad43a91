"""Warm starts: a module runs as ``python -m`` would run it, only sooner, and ends with those who wait for it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from helpers import warm

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere forking is not safe and starts are cold")
MODULE = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("GREETING"), "colorsys" in sys.modules, __name__]))
print(sys.stdin.read(), file=sys.stderr)
"""
WAITS = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"


@pytest.fixture(scope="module")
def address():
    """A server that has imported what it shall."""
    address = warm.start_server(["no_such_library", "colorsys"])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        asked = launch("timeit", "-n1", "-r1", "import sys; 'colorsys' in sys.modules or 1 / 0", address=address)
        asked.communicate()
        if asked.returncode == 0:
            return address
    raise AssertionError("nothing was imported")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with modules, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "told.py").write_text(MODULE)
    return tmp_path


def launch(module: str, *arguments: str, address: str | None = None, **environment) -> subprocess.Popen:
    command = [sys.executable, "-m", "helpers.warm", module, *arguments]
    environment = os.environ | environment | ({warm.ADDRESS: address} if address else {})
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def process_of(path: Path) -> int:
    """Process id that a module has written to `path`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"nothing in {path}")


def gone(process: int) -> bool:
    """Whether a process ends within some seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def run_told(here: Path, address: str | None) -> str:
    done = launch("told", "a b", "-c", address=address, GREETING="hello")
    out, err = done.communicate("from the other side", timeout=30)
    assert err == "from the other side\n"
    assert done.returncode == 0
    return out


@linux
def test_it_is_a_module_run_as_ever_with_libraries_that_are_there(here, address):
    assert run_told(here, address) == f'[["a b", "-c"], "{here}", "hello", true, "__main__"]\n'


@pytest.mark.parametrize("server", [None, "/no/such/server"])
def test_without_a_server_it_is_just_that_module(here, server):
    assert run_told(here, server) == f'[["a b", "-c"], "{here}", "hello", false, "__main__"]\n'


@linux
@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit('')", 1, ""),
        ("import sys; sys.exit('no more')", 1, "no more"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
    ],
)
def test_it_ends_as_the_module_ends(here, address, source, code, told):
    (here / "ends.py").write_text(source)
    done = launch("ends", address=address)
    assert told in done.communicate(timeout=30)[1]
    assert done.returncode == code


@linux
def test_threads_and_last_words_are_waited_for(here, address):
    (here / "late.py").write_text(
        "import atexit, threading, time\n"
        "atexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start()\n"
    )
    assert launch("late", address=address).communicate(timeout=30)[0] == "thread\nlast\n"


@linux
def test_signals_reach_the_module(here, address):
    (here / "waits.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT), (signal.SIGHUP, -signal.SIGHUP)):
        before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
        done = launch("waits", address=address)
        signal.signal(number, before)
        process = process_of(here / "pid")
        assert process != done.pid
        done.send_signal(number)
        done.communicate(timeout=30)
        assert done.returncode == code
        (here / "pid").unlink()


@linux
def test_ignored_signals_stay_ignored(here, address):
    (here / "waits.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\n"
        "while not os.path.exists('go'): time.sleep(0.05)\n"
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        done = launch("waits", address=address)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = process_of(here / "pid")
    done.send_signal(signal.SIGHUP)
    os.kill(process, signal.SIGHUP)
    time.sleep(0.3)
    (here / "go").touch()
    done.communicate(timeout=30)
    assert done.returncode == 0


@linux
def test_an_environment_too_large_for_a_message_starts_cold(here, address):
    (here / "size.py").write_text("import os; print(len(os.environ['A']))")
    done = launch("size", address=address, A="x" * 120_000, B="x" * 120_000, C="x" * 120_000)
    assert done.communicate(timeout=30)[0] == "120000\n"


@linux
def test_a_start_that_nobody_waits_for_any_more_ends(here, address):
    (here / "waits.py").write_text(WAITS)
    gone_before = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    done = launch("waits", address=address, **{warm.STARTER: gone_before.stdout.decode().strip()})
    assert gone(process_of(here / "pid"))
    done.communicate(timeout=30)


@linux
def test_a_stopped_module_does_not_keep_its_supervisor_busy(here, address):
    (here / "waits.py").write_text(WAITS)
    done = launch("waits", address=address)
    process = process_of(here / "pid")
    supervisor = Path(f"/proc/{process}/status").read_text().split("PPid:")[1].split()[0]
    os.kill(process, signal.SIGSTOP)
    time.sleep(1)
    ticks = sum(map(int, Path(f"/proc/{supervisor}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    done.kill()
    done.communicate(timeout=30)
    assert ticks < 0.3 * os.sysconf("SC_CLK_TCK")


@linux
@pytest.mark.parametrize("victim", ["caller", "caller's parent", "supervisor"])
def test_it_does_not_outlive_those_who_wait_for_it(here, address, victim):
    (here / "waits.py").write_text(WAITS)
    if victim == "caller's parent":
        (here / "parent.py").write_text(
            "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'helpers.warm', 'waits'])"
        )
        done = subprocess.Popen([sys.executable, "parent.py"], env=os.environ | {warm.ADDRESS: address})
    else:
        done = launch("waits", address=address)
    process = process_of(here / "pid")
    status = Path(f"/proc/{process}/status").read_text()
    supervisor = int(status.split("PPid:")[1].split()[0])
    os.kill(supervisor if victim == "supervisor" else done.pid, signal.SIGKILL)
    done.communicate(timeout=30)
    assert gone(process)
    assert gone(supervisor)


@linux
def test_a_server_ends_with_its_parent_and_leaves_nothing():
    source = "from helpers import warm; print(warm.start_server([]))"
    address = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()
    deadline = time.monotonic() + 20
    while Path(address).parent.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(address).parent.exists()


@linux
def test_a_server_waits_for_what_still_writes_to_its_folder(here):
    """As a kernel makes the folder of its connection file, also when all around it is removed."""
    source = "import pathlib, sys, time\ntime.sleep(3)\npathlib.Path(sys.argv[1], 'late').mkdir(parents=True)\n"
    (here / "late.py").write_text(source)
    parent = "import sys; from helpers import warm\n"
    parent += "print(warm.start_server([]), flush=True)\nsys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", parent], stdin=pipe, stdout=pipe, text=True) as workflow:
        address = workflow.stdout.readline().strip()
        folder = Path(address).parent
        with launch("late", str(folder), address=address) as started:
            time.sleep(0.5)
            workflow.kill()
            assert started.wait(20) == 0
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


@linux
def test_nothing_starts_cold_for_a_workflow_that_is_gone(here):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    done = launch("told", address=str(here / "no server"), **{warm.PARENT: str(ended.pid)})
    assert "the workflow that asked for told is gone" in done.communicate("", timeout=30)[1]
    assert done.returncode == 1
    goes_on = launch("told", address=str(here / "no server"), **{warm.PARENT: str(os.getpid())})
    goes_on.communicate("", timeout=30)
    assert goes_on.returncode == 0


@linux
def test_what_was_used_is_told(here, address):
    (here / "works.py").write_text("memory = bytearray(300_000_000)\nfor i in range(10_000_000): pass\n")
    launch("works", address=address, **{warm.USAGE: str(here / "usage")}).communicate(timeout=30)
    told = json.loads((here / "usage").read_text())
    assert told["peak_kb"] > 290_000
    assert 0.05 < told["cpu_seconds"] < 30


@linux
def test_runner_and_kernel_of_a_notebook_start_warm(tmp_path, address):
    source = '# %% tags=["parameters"]\nx: int = 1  # one\n\n# %%\nimport sys\nprint("colorsys" in sys.modules, x)\n'
    (tmp_path / "nb.py").write_text(source)
    arguments = [str(tmp_path / "nb.py"), str(tmp_path / "nb.ipynb"), "-p", "x", "2"]
    done = launch("helpers.run", *arguments, address=address)
    told = done.communicate(timeout=60)
    assert done.returncode == 0, told
    notebook = nbformat.read(tmp_path / "nb.ipynb", as_version=4)
    assert notebook.cells[-1].outputs[0].text == "True 2\n"
    assert notebook.metadata["cellscale"]["cpu_seconds"] > 0.2
    assert notebook.metadata["cellscale"]["peak_memory_mb"] > 30


def test_the_libraries_are_there():
    assert not [name for name in warm.LIBRARIES if importlib.util.find_spec(name.split(".")[0]) is None]
