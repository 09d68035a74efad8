"""The active role of a node: how it gets it, what it does with it, and how it gives it up."""

import secrets
import threading
import time
import uuid

from base import Refused, StateLock, say, timestamp
from config import host_port
from forwarding import Forwarder, Members
from lock import KEY, ConsulLock

# So often a standby looks for the active node, in addition to each request.
LEADER_CHECK_S = 2.5
STEP_DOWN_PAUSE_S = 10
# Forwarded requests may end before their connections are closed.
DRAIN_S = 0.5
# After that, Vault takes down its tables before it releases the lock.
TEARDOWN_S = 0.03
# From the entry of the active node until it takes forwarded requests, Vault reads its tables.
SETUP_S = 0.05


class Leader:
    """The active node as a standby knows it."""

    def __init__(self, term, entry):
        self.term = term
        self.redirect_addr, self.cluster_addr = entry["redirect_addr"], entry["cluster_addr"]
        self.key = entry["cluster_key"]


class Leadership:
    """Requests take `state` to read, and changes of the role to write: during these, requests wait."""

    def __init__(self, node):
        self.node, self.config, self.consul = node, node.config, node.consul
        self.state, self.members, self.registration = StateLock(), Members(), None
        # The time when this node became active, and the key of its forwarded requests while it takes them.
        self.active_since = self.cluster_key = None
        self.known = self.forwarder = self.cluster = None
        self.refreshing = threading.RLock()
        self.stop, self.wake, self.must_step_down = threading.Event(), threading.Event(), False
        self.threads = []

    def start(self):
        """Starts what an unsealed node does."""
        self.stop, self.must_step_down = threading.Event(), False
        self.threads = [
            threading.Thread(target=target, args=(self.stop,), daemon=True) for target in (self.run, self.refresh)
        ]
        for thread in self.threads:
            thread.start()

    def end(self):
        """Gives up the role before the node is sealed. Vault waits for its answer from Consul, up to `lock_wait_time`."""
        with self.refreshing:
            self.forget_leader()
        with self.state.write():
            self.stop.set()
            self.wake.set()
            for thread in self.threads:
                thread.join()

    def step_down(self):
        self.must_step_down = True
        self.wake.set()

    def notify(self, is_active):
        if self.registration:
            self.registration.notify(is_active)

    def refresh(self, stop):
        while not stop.wait(LEADER_CHECK_S):
            try:
                # A change of the role may wait for the end of this thread.
                if self.state.enter(stop):
                    try:
                        self.leader()
                    finally:
                        self.state.leave()
            except Refused as error:
                say(error)

    def leader(self):
        """Returns the active node, if this standby finds one. Opens connections to a new one."""
        if self.active_since:
            return None
        entry, _ = self.consul.get(KEY)
        if not entry or not entry.get("Session"):
            return None
        term = entry["Value"].decode()
        with self.refreshing:
            if not self.known or self.known.term != term:
                found = self.consul.value("core/leader/" + term)
                if not found:
                    return None
                self.forget_leader()
                self.known = Leader(term, found)
                address = host_port(self.known.cluster_addr.removeprefix("https://"), "cluster_addr")
                self.forwarder = Forwarder(self.config, address, self.known.key)
                threading.Thread(target=self.forwarder.echo, args=(self.described(),), daemon=True).start()
            return self.known

    def forget_leader(self):
        if self.forwarder:
            self.forwarder.close()
        self.known = self.forwarder = None

    def run(self, stop):
        """Waits for the active role, has it, and begins again, until the node is sealed."""
        while not stop.is_set() and self.node.unsealed.is_set():
            pause_s = 1
            try:
                if self.serve_a_term(stop):
                    pause_s = STEP_DOWN_PAUSE_S
            except Refused as error:
                say(error)
            if not stop.is_set():
                time.sleep(pause_s)

    def serve_a_term(self, stop):
        """Returns whether the term ended by a request to step down."""
        term = str(uuid.uuid4())
        lock = ConsulLock(self.consul, term, self.wake.set)
        try:
            if not lock.acquire(stop) or not self.begin(lock, term, stop):
                return False
        finally:
            if not self.active_since:
                lock.release()
        while not (lock.lost.is_set() or stop.is_set() or self.must_step_down):
            self.wake.wait()
            self.wake.clear()
        has_state = self.state.acquire(stop)
        stepped_down, self.must_step_down = self.must_step_down, False
        try:
            self.give_up(lock, term)
        finally:
            if has_state:
                self.state.release()
        return stepped_down

    def begin(self, lock, term, stop):
        """Makes this node active, while requests wait. Returns whether it is."""
        say("acquired lock, enabling active operation")
        if not self.state.acquire(stop):
            return False
        try:
            self.consul.fence, self.consul.cache = lock.session, {}
            self.node.check_seal()
            key = secrets.token_hex(32)
            entry = {"redirect_addr": self.config.api_addr, "cluster_addr": self.config.cluster_addr}
            self.consul.write({"core/leader/" + term: entry | {"cluster_key": key}})
            with self.refreshing:
                self.forget_leader()
            self.must_step_down = False
            self.notify(True)
            self.node.load()
            time.sleep(SETUP_S)
            self.cluster_key, self.active_since = key, time.gmtime()
            threading.Thread(target=self.remove_others, args=(term,), daemon=True).start()
            return True
        finally:
            self.state.release()

    def remove_others(self, term):
        """Removes what killed nodes left, as Vault does."""
        try:
            for other in self.consul.keys("core/leader/"):
                if other != term:
                    self.consul.write({}, ["core/leader/" + other])
        except Refused as error:
            say(error)

    def give_up(self, lock, term):
        self.active_since = None
        time.sleep(DRAIN_S)
        self.cluster_key = None
        self.cluster.disconnect()
        time.sleep(TEARDOWN_S)
        self.node.audit.close()
        self.consul.cache = None
        try:
            self.consul.write({}, ["core/leader/" + term])
        except Refused as error:
            say(error)
        lock.release()
        self.notify(False)

    def described(self):
        """Returns this node as `sys/ha-status` shows it."""
        return self.node.described()

    def nodes(self):
        """Returns the nodes of the cluster by their address, as the active one knows them."""
        found = [{**self.described(), "active_node": True, "last_echo": None}]
        for standby, at_s in self.members.all():
            found.append({**standby, "active_node": False, "last_echo": timestamp(at_s)})
        return sorted(found, key=lambda node: node["api_address"])
