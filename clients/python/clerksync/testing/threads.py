"""The threads that calls run on."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class DaemonThreads(Executor):
    """One for each call, so that calls that wait never keep others from running.

    Daemons, unlike those of ThreadPoolExecutor: a program that has not closed the fake can end all the same.
    """

    def __init__(self) -> None:
        self._running: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def submit(
        self, fn: Callable[_Parameters, _Result], /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> Future[_Result]:
        future: Future[_Result] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  (it is the caller's, as with any executor)
                future.set_exception(error)
            finally:
                with self._lock:
                    self._running.discard(thread)

        thread = threading.Thread(target=run, name="fake-sync-service", daemon=True)
        with self._lock:
            self._running.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # (It has no queue.)
        """Waits for the threads that run, if it is to."""
        with self._lock:
            running = list(self._running)
        for thread in running if wait else ():
            thread.join()
