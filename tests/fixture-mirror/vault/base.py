"""What all modules use: refusals, the log, times and digests."""

import datetime
import hashlib
import re
import sys
import threading
import time
from contextlib import contextmanager

VERSION = "1.15.6+fixture"
BANNER = f"Vault v{VERSION} (stub for tests, not HashiCorp's Vault), built 1970-01-01"


class Refused(Exception):
    """A configuration or a request that cannot be served, with the reason and the HTTP status."""

    def __init__(self, words, status=400):
        super().__init__(words)
        self.status = status

    def errors(self):
        return {"errors": [str(self)] if str(self) else []}


def say(words):
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "[stub]", words, file=sys.stderr, flush=True)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def timestamp(at_s=None):
    at = datetime.datetime.now(datetime.UTC) if at_s is None else datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def duration_s(value):
    """Returns the seconds of `3600`, `"3600"` or `"1h30m"`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value)
    if str(value).isdigit():
        return int(value)
    parts = re.findall(r"(\d+)([smhd])", str(value))
    if not parts or "".join(map("".join, parts)) != value:
        raise Refused(f'time: invalid duration "{value}"')
    return sum(int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)


def truthy(value):
    return str(value).lower() in ("1", "true", "yes")


class StateLock:
    """Many readers or one writer. A writer that waits comes before new readers."""

    def __init__(self):
        self.condition = threading.Condition()
        self.readers, self.writers, self.is_written = 0, 0, False

    def enter(self, stop=None):
        """Waits as a reader. Returns `False` if `stop` is set before."""
        return self._wait(stop, lambda: not self.is_written and not self.writers, "readers")

    def leave(self):
        with self.condition:
            self.readers -= 1
            self.condition.notify_all()

    def acquire(self, stop=None):
        """Waits as a writer. Returns `False` if `stop` is set before."""
        with self.condition:
            self.writers += 1
        try:
            return self._wait(stop, lambda: not self.is_written and not self.readers, "is_written")
        finally:
            with self.condition:
                self.writers -= 1
                self.condition.notify_all()

    def release(self):
        with self.condition:
            self.is_written = False
            self.condition.notify_all()

    def _wait(self, stop, is_free, counter):
        with self.condition:
            while not is_free():
                # Without `stop`, a notification is the only end.
                self.condition.wait(None if stop is None else 0.05)
                if stop is not None and stop.is_set():
                    return False
            if stop is not None and stop.is_set():
                return False
            setattr(self, counter, getattr(self, counter) + 1)
            return True

    @contextmanager
    def read(self):
        self.enter()
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def write(self):
        self.acquire()
        try:
            yield
        finally:
            self.release()


class Reply:
    """What an endpoint returns. Without content it is 204, or 404 for reads."""

    def __init__(self, data=None, auth=None, warnings=None, status=None, lease_s=0, flat=False):
        self.data, self.auth, self.warnings, self.status = data, auth, warnings or None, status
        self.lease_s, self.flat = lease_s, flat

    def is_empty(self):
        return self.data is None and not self.auth and not self.warnings

    def body(self, request):
        """Returns status and body."""
        is_list = request.operation == "list"
        if self.is_empty() or (is_list and self.data is not None and not self.data.get("keys")):
            return (404, {"errors": []}) if is_list or request.operation == "read" else (204, None)
        envelope = {
            "request_id": request.id,
            "lease_id": "",
            "renewable": False,
            "lease_duration": self.lease_s,
            "data": self.data,
            "wrap_info": None,
            "warnings": self.warnings,
            "auth": self.auth,
        }
        return self.status or 200, (self.data if self.flat else {}) | envelope
