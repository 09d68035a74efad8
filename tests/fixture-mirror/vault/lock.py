"""The lock of the active node: a session of Consul that owns a key, as the client library of Consul does it."""

import threading
import time

from base import Refused, say

KEY = "core/lock"
# The flags of locks in Consul's client library.
FLAGS = 0x2DDCCBC058A50C18
# Consul refuses the lock for 15 seconds after its session ended. There is no event at the end of that delay.
RETRY_S = 5


class ConsulLock:
    """One attempt to get the lock, and its ownership. `value` names the entry of the active node."""

    def __init__(self, consul, value, on_loss):
        self.consul, self.value, self.on_loss = consul, value.encode(), on_loss
        self.session, self.lost = None, threading.Event()
        # Without the release before it, the end of the session would delay all nodes.
        self.is_given_up, self.released = False, threading.Event()

    def acquire(self, stop):
        """Waits for the lock, until `stop` is set. Then it waits for the end of Consul's answer, as Vault does."""
        self.session = self.consul.session()
        threading.Thread(target=self.renew, daemon=True).start()
        index, wait_s = 0, self.consul.config.lock_wait_time_s
        while not stop.is_set():
            entry, index = self.consul.get(KEY, index, wait_s)
            owner = (entry or {}).get("Session")
            if owner == self.session or (not owner and self.put(acquire=self.session)):
                threading.Thread(target=self.watch, daemon=True).start()
                return True
            if not owner:
                entry, index = self.consul.get(KEY)
                if not (entry or {}).get("Session"):
                    stop.wait(RETRY_S)
                    index = 0
        self.is_given_up = True
        self.released.set()
        return False

    def put(self, **query):
        return self.consul.put(KEY, self.value, **query, flags=FLAGS)

    def release(self):
        """Releases the lock: another node gets it at once. The session ends later, which delays no other."""
        if self.is_given_up:
            return
        self.is_given_up = True
        try:
            say("released lock" if self.put(release=self.session) else "the lock was lost already")
        except Refused as error:
            say(error)
        self.released.set()

    def renew(self):
        """Renews the session at half of its time, and ends it after the release."""
        ttl_s = self.consul.config.session_ttl_s
        renewed, pause_s = time.monotonic(), ttl_s / 2
        while not self.released.wait(pause_s):
            try:
                if not self.consul.renew(self.session):
                    break
                renewed, pause_s = time.monotonic(), ttl_s / 2
            except Refused as error:
                say(error)
                pause_s = 1
                if time.monotonic() > renewed + ttl_s:
                    break
        else:
            try:
                self.consul.destroy(self.session)
            except Refused as error:
                say(error)
            return
        self.lose()

    def watch(self):
        """Waits until another owns the lock, or none. Errors of Consul are tried again for ten seconds."""
        index, retries = 0, 5
        while not self.is_given_up:
            try:
                entry, index = self.consul.get(KEY, index, 60, consistent=True)
                retries = 5
            except Refused as error:
                say(error)
                if not retries:
                    break
                retries, index = retries - 1, 0
                time.sleep(2)
                continue
            if (entry or {}).get("Session") != self.session:
                break
        if not self.is_given_up:
            self.lose()

    def lose(self):
        self.lost.set()
        self.on_loss()
