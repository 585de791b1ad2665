"""Plain torch: what an optimizer is set to, and the loss that `backward()` is called on.

MLflow's own autolog covers Lightning only. A plain loop names nothing, so this logs what can be seen without guessing:
the optimizer's name and settings as parameters; every `log_every_n_step` calls of `Tensor.backward` the mean `loss` of
those calls, at the number of calls so far; and `learning_rate` when it has changed. Losses are summed where they are,
so that a GPU is waited for once in `log_every_n_step` calls only. The model is not logged: call `lathe.log_model`.
"""

import atexit
import threading

from lathe import session
from lathe.autologging import hooks
from lathe.autologging.sklearn import log_params
from lathe.client import LatheError

_LIBRARY = "torch"


def patch():
    import torch

    watch = _Watch()
    optimizer = torch.optim.Optimizer
    original_init, original_backward = optimizer.__dict__["__init__"], torch.Tensor.__dict__["backward"]

    def __init__(self, *args, **kwargs):
        original_init(self, *args, **kwargs)
        if hooks.settings_of(_LIBRARY) is not None:
            hooks.attempt(_LIBRARY, "logging the optimizer", watch.optimizer_made, self)

    def backward(self, *args, **kwargs):
        answer = original_backward(self, *args, **kwargs)
        settings = hooks.settings_of(_LIBRARY)
        if settings is not None and not watch.broken and self.numel() == 1:
            watch.broken = hooks.attempt(_LIBRARY, "logging the loss", watch.passed, self, settings) is None
        return answer

    for wrapper, original in ((__init__, original_init), (backward, original_backward)):
        wrapper.__wrapped__, wrapper.__doc__ = original, original.__doc__
    hooks.replace(_LIBRARY, optimizer, "__init__", __init__)
    hooks.replace(_LIBRARY, torch.Tensor, "backward", backward)
    hooks.on_restore(_LIBRARY, watch.end)
    atexit.register(watch.end)


class _Watch:
    """What one process's training loop has shown since the last point."""

    def __init__(self):
        self.broken = False
        self._lock = threading.Lock()
        self._sum, self._count, self._passes = None, 0, 0
        self._run = self._optimizer = self._rate = None

    def optimizer_made(self, optimizer):
        run = session.active()
        if run is None:
            return
        self._optimizer = optimizer
        settings = {name: value for name, value in optimizer.defaults.items()}
        log_params(run, _LIBRARY, {"optimizer_name": type(optimizer).__name__, **settings})

    def passed(self, loss, settings):
        run = session.active()
        if run is None:
            raise LatheError("there is no run: call it in a job, or inside `with lathe.start_run():`")
        with self._lock:
            if run is not self._run:
                self._log()
                self._run, self._passes = run, 0
            value = loss.detach()
            self._sum = value.clone() if self._sum is None else self._sum + value.to(self._sum.device)
            self._count += 1
            self._passes += 1
            if self._count >= settings.log_every_n_step:
                self._log()
        return True

    def end(self):
        with self._lock:
            hooks.attempt(_LIBRARY, "logging the last loss", self._log)

    def _log(self):
        if not self._count:
            return
        points = {"loss": float(self._sum) / self._count}
        if self._optimizer is not None:
            rate = float(self._optimizer.param_groups[0].get("lr", 0))
            if rate != self._rate:
                points["learning_rate"] = self._rate = rate
        self._sum, self._count = None, 0
        self._run.log_metrics(points, self._passes)
