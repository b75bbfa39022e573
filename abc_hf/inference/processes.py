"""Processes that call a function within limits of time and memory. A photo that is made to do harm ends its process
alone."""

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..photos import PhotoError, reason

CPU_SECONDS = 30
"""The most CPU time that a process may take for one photo [s]; the process is ended then."""
MEMORY = 4 * 2**30
"""The most memory that a process may take for a photo, beyond its own memory [bytes]. Only Linux keeps this limit."""
ENDED = "it was not opened, because the run ends."
WITHIN_LIMITS = not hasattr(signal, "setitimer")
"""Whether this process is one of those here. Windows has no such limits, so all processes count as one."""


class Worker:
    """A process that calls the function that `make(*arguments)` returns there. A call that takes too much CPU time, or
    crashes, ends this process alone, and the next call starts another one."""

    def __init__(self, make: Callable, arguments: tuple = ()):
        self.make, self.arguments, self.stopped = make, arguments, False
        self.process: Any = None

    def start(self):
        """Begin to start the process, which takes some seconds."""
        if self.process is None and not self.stopped:
            self.pipe, theirs = multiprocessing.Pipe()
            with theirs:
                self.process = self.launch(theirs)

    def launch(self, pipe: Connection) -> Any:
        context = start_context(self.make.__module__)
        process = context.Process(target=work, args=(pipe, self.make, self.arguments, CPU_SECONDS, MEMORY), daemon=True)
        process.start()
        return process

    def status(self) -> int:
        """The exit status of the process, which has ended."""
        self.process.join()
        status = self.process.exitcode
        self.process.close()
        return status

    def stop(self):
        self.stopped = True
        if self.process is not None:
            self.process.kill()

    def __call__(self, *arguments):
        """The function's answer, or its error. Raises PhotoError if the process ended."""
        for last in (False, True):
            if self.stopped:
                raise PhotoError(ENDED)
            self.start()
            try:
                self.pipe.send(arguments)
                answer = self.pipe.recv()
            except (EOFError, OSError):
                status = self.status()
                self.pipe.close()
                self.process = None
                if self.stopped:
                    raise PhotoError(ENDED) from None
                if status == -getattr(signal, "SIGPROF", 0):
                    raise PhotoError(f"opening it takes more than {CPU_SECONDS} seconds of CPU time.") from None
                if last:
                    raise PhotoError(
                        "the process that opened it crashed; the photo is damaged, or too large for the memory."
                    ) from None
                continue  # the memory may have been short for a moment
            if isinstance(answer, Exception):
                raise answer
            return answer


class Processes:
    """A number of workers with the same function, see `Worker`."""

    def __init__(self, number: int, make: Callable[..., Callable], arguments: tuple):
        self.workers = [Worker(make, arguments) for _ in range(number)]
        self.threads = ThreadPoolExecutor(number)
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)
            worker.start()

    def submit(self, *arguments) -> Future:
        """Call the function in the next process that is idle. An argument may be a `Future`, whose result is meant."""
        return self.threads.submit(self.call, arguments)

    def call(self, arguments: tuple):
        values = [each.result() if isinstance(each, Future) else each for each in arguments]
        worker = self.idle.get()
        try:
            return worker(*values)
        finally:
            self.idle.put(worker)

    def stop(self):
        for worker in self.workers:
            worker.stop()
        self.threads.shutdown(cancel_futures=True)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_context(module: str) -> Any:
    """How processes start, which import a module first; threads and accelerators do not survive a fork."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([module])
        return context
    return multiprocessing.get_context("spawn")


def work(pipe: Connection, make: Callable[..., Callable], arguments: tuple, seconds: float, memory: int):
    """The work of a worker process. It ends with its parent."""
    import torch

    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    answer_calls(pipe, make(*arguments), seconds, memory)


def answer_calls(pipe: Connection, function: Callable, seconds: float, memory: int):
    """Call the function for the process at the other end of the pipe. Ctrl-C ends only that process."""
    global WITHIN_LIMITS
    WITHIN_LIMITS = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(memory)
    while True:
        try:
            arguments = pipe.recv()
        except (EOFError, OSError):
            return
        with limited_time(seconds):
            try:
                answer = pickle.dumps(function(*arguments))
            except Exception as error:
                answer = pickle.dumps(PhotoError(reason(error)))
        with contextlib.suppress(OSError):  # the other process has ended
            pipe.send_bytes(answer)


def limit_memory(memory: int):
    """Limit the memory of this process to so much more than it has now. Beyond that, Python raises MemoryError."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@contextlib.contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """End this process if it takes more CPU time in here; Windows has no such timer."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def end_with_parent():
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
