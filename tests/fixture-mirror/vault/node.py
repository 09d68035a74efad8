"""One server of the cluster: seal, active role, members."""

import base64
import secrets
import socket
import threading
import time
import uuid

from audit import Audit
from base import Refused, VERSION, digest, say, timestamp
from consul import Consul, State
from kv import Mounts
from policies import DEFAULT_POLICY
from tokens import Tokens

# The flags of locks in Consul's client library.
LOCK_FLAGS = 0x2DDCCBC550AA5000


class Node:
    """One server: sealed or not, standby or active."""

    def __init__(self, config):
        self.config, self.consul = config, Consul(config)
        self.id = str(uuid.uuid4())
        self.lock = threading.RLock()
        self.unsealed, self.stopping, self.yielding = threading.Event(), threading.Event(), threading.Event()
        self.shares, self.nonce, self.session, self.active_since = [], "", None, None
        # As Vault does, a node remembers that there is a seal, until it is started again.
        self.seal, self.is_orphaned = None, False
        self.state = State(self.consul)
        self.audit, self.mounts, self.tokens = Audit(self.state), Mounts(self.state), Tokens(self.state)

    @property
    def active(self):
        return self.active_since is not None

    def seal_config(self):
        if self.is_orphaned:
            raise Refused("core: barrier reports initialized but no seal configuration found", 500)
        if not self.seal:
            self.seal = self.consul.value("core/seal-config")
        return self.seal

    def initialize(self, body):
        shares, threshold = body.get("secret_shares", 0), body.get("secret_threshold", 0)
        wrong = [key for key in ("recovery_shares", "recovery_threshold", "recovery_pgp_keys") if body.get(key)]
        if wrong:
            raise Refused(f"parameters {','.join(wrong)} not applicable to seal type shamir")
        if self.seal_config():
            raise Refused("Vault is already initialized")
        if not isinstance(shares, int) or not isinstance(threshold, int) or shares < 1:
            raise Refused("invalid seal configuration: shares must be at least one")
        if threshold < 1 or threshold > shares:
            size = "larger than shares" if threshold > shares else "less than one"
            raise Refused(f"invalid seal configuration: threshold cannot be {size}")
        if shares > 1 and threshold == 1:
            raise Refused("invalid seal configuration: threshold must be greater than one for multiple shares")
        if shares > 255:
            raise Refused("invalid seal configuration: shares must be less than 256")
        if body.get("pgp_keys") and len(body["pgp_keys"]) != shares:
            raise Refused("incorrect number of PGP keys")
        for key in ("pgp_keys", "root_token_pgp_key"):
            if body.get(key):
                raise Refused(f"this stub supports no `{key}`: it hands out shares and the root token as they are")
        keys, cluster_id = [secrets.token_hex(33) for _ in range(shares)], str(uuid.uuid4())
        name = self.config.cluster_name or f"vault-cluster-{secrets.token_hex(4)}"
        made = {"n": shares, "t": threshold, "keys": [digest(key) for key in keys]}
        made |= {"cluster_id": cluster_id, "cluster_name": name}
        root, entry = self.tokens.root()
        made_all = [
            # Two nodes may get requests at once: only the first creation counts.
            self.consul.operation("cas", "core/seal-config", made, Index=0),
            self.consul.operation("set", State.key("token", digest(root)), entry),
            self.consul.operation("set", State.key("policy", "default"), DEFAULT_POLICY),
        ]
        if not self.consul.transact(made_all):
            raise Refused("Vault is already initialized")
        encoded = [base64.b64encode(bytes.fromhex(key)).decode() for key in keys]
        return {"keys": keys, "keys_base64": encoded, "root_token": root}

    @staticmethod
    def share(key):
        """Returns a share in hexadecimal digits."""
        if not key:
            raise Refused("'key' must be specified in request body as JSON, or 'reset' set to true")
        try:
            share = bytes.fromhex(key)
        except ValueError:
            try:
                share = base64.b64decode(key, validate=True)
            except ValueError as error:
                raise Refused("'key' must be a valid hex or base64 string") from error
        if not 16 <= len(share) <= 33:
            limit = "shorter than minimum 16" if len(share) < 16 else "longer than maximum 33"
            raise Refused(f"invalid key: key is {limit} bytes")
        return share.hex()

    def unseal(self, key):
        """Counts a share. A wrong one shows only when there are enough of them, as with Vault."""
        share, seal = self.share(key), self.seal_config()
        if not seal:
            raise Refused("Vault is not initialized")
        with self.lock:
            self.nonce = self.nonce or str(uuid.uuid4())
            if share not in self.shares:
                self.shares.append(share)
            if len(self.shares) < seal["t"]:
                return
            given, self.shares, self.nonce = self.shares, [], ""
            if not self.consul.value("core/seal-config"):
                raise Refused("unable to retrieve stored keys: there are none", 500)
            self.check_shares(given)
            self.unsealed.set()
            say("unsealed")

    def check_shares(self, given):
        if any(digest(share) not in self.seal["keys"] for share in given):
            raise Refused("unable to retrieve stored keys: invalid key: failed to decrypt keys from storage")

    def leader(self):
        """Returns the entry of the active node, if there is one."""
        entry, _ = self.consul.get("core/lock")
        if not entry or not entry.get("Session"):
            return None
        return self.consul.value("core/leader/" + entry["Value"].decode())

    def run(self):
        """Tries to become active while unsealed, until the end."""
        while not self.stopping.is_set():
            if not self.unsealed.wait(0.5):
                continue
            try:
                self.campaign()
            except Refused as error:
                say(error)
                self.stopping.wait(1)
            finally:
                self.step_aside()
            if self.yielding.is_set():
                self.yielding.clear()
                self.stopping.wait(10)

    def campaign(self):
        session = self.consul.session(self.config.session_ttl_s)
        lost = threading.Event()
        with self.lock:
            self.session = session
        threading.Thread(target=self.keep, args=(session, lost), daemon=True).start()
        index = 0
        while self.session == session and self.unsealed.is_set() and not lost.is_set():
            entry, index = self.consul.get("core/lock", index, self.config.session_ttl_s // 2)
            holder = (entry or {}).get("Session")
            if holder == session and not self.active:
                self.become_active(session)
            elif holder != session and self.active:
                return
            elif not holder and not self.acquire(session):
                # Consul's lock delay after a node died.
                self.stopping.wait(1)
                index = 0

    def acquire(self, session):
        # Not after `step_aside` released the lock: it would end with the session, and delay all nodes.
        with self.lock:
            if self.session != session:
                return False
            return self.consul.put("core/lock", self.id.encode(), acquire=session, flags=LOCK_FLAGS)

    def become_active(self, session):
        own = {"redirect_addr": self.config.api_addr, "cluster_addr": self.config.cluster_addr}
        with self.lock:
            if self.session == session:
                if not self.consul.value("core/seal-config"):
                    self.is_orphaned = True
                    self.unsealed.clear()
                    self.seal_config()
                self.state.load()
                self.audit.load()
                self.consul.fence = session
                self.consul.put("core/leader/" + self.id, own)
                self.active_since = time.gmtime()
                say("acquired lock, enabling active operation")

    def keep(self, session, lost):
        while self.session == session and not self.stopping.wait(self.config.session_ttl_s / 3):
            try:
                if self.session == session and not self.consul.renew(session):
                    break
            except Refused as error:
                say(error)
                break
        lost.set()

    def step_aside(self):
        """Releases the lock at once, so that a standby need not wait for the session to expire."""
        with self.lock:
            session, self.session = self.session, None
            was_active, self.active_since = self.active, None
            self.consul.fence = None
        if not session:
            return
        self.audit.close()
        try:
            released = self.consul.put("core/lock", self.id.encode(), release=session, flags=LOCK_FLAGS)
            if was_active:
                self.consul.delete("core/leader/" + self.id)
                say("released lock" if released else "the lock was lost already")
            self.consul.destroy(session)
        except Refused as error:
            say(error)

    def described(self):
        """Returns this node as `sys/ha-status` shows it."""
        addresses = {"api_address": self.config.api_addr, "cluster_address": self.config.cluster_addr}
        return {"hostname": socket.gethostname(), **addresses, "version": VERSION}

    def echo(self):
        """Tells the active node of this standby, every 5 seconds. Vault does so from node to node."""
        is_known = False
        while not self.stopping.wait(1 if not is_known else 5):
            try:
                if self.unsealed.is_set() and not self.active:
                    self.consul.put("core/standby/" + self.id, {**self.described(), "last_echo": time.time()})
                    is_known = True
                elif is_known:
                    self.forget()
                    is_known = False
            except Refused as error:
                say(error)

    def forget(self):
        self.consul.delete("core/standby/" + self.id)

    def members(self):
        found = [{**self.described(), "active_node": True, "last_echo": None}]
        for name, entry in self.consul.tree("core/standby/").items():
            if name == self.id or entry["last_echo"] < time.time() - 15:
                self.consul.delete("core/standby/" + name)
            else:
                found.append({**entry, "active_node": False, "last_echo": timestamp(entry["last_echo"])})
        return found


class RootGeneration:
    """Makes a root token for the holders of enough shares."""

    def __init__(self, node):
        self.node, self.nonce, self.otp, self.shares = node, "", "", []

    def status(self, **changed):
        status = {"nonce": self.nonce, "started": bool(self.nonce), "progress": len(self.shares)}
        status |= {"required": self.node.seal_config()["t"], "complete": False, "encoded_token": ""}
        return status | {"encoded_root_token": "", "pgp_fingerprint": "", "otp": "", "otp_length": 28} | changed

    def start(self, body):
        if body.get("pgp_key") or body.get("otp"):
            raise Refused("this stub supports neither `pgp_key` nor `otp`")
        if self.nonce:
            raise Refused("root generation already in progress")
        self.nonce, self.otp, self.shares = str(uuid.uuid4()), secrets.token_hex(14), []
        return self.status(otp=self.otp)

    def cancel(self):
        self.nonce, self.otp, self.shares = "", "", []

    def update(self, body):
        share, node = self.node.share(body.get("key", "")), self.node
        if not self.nonce:
            raise Refused("no root generation in progress")
        if body.get("nonce") != self.nonce:
            raise Refused("incorrect nonce supplied; nonce for this root generation operation is " + self.nonce)
        self.shares += [share] if share not in self.shares else []
        if len(self.shares) < node.seal_config()["t"]:
            return self.status()
        given, nonce, otp = self.shares, self.nonce, self.otp
        self.cancel()
        node.check_shares(given)
        text, entry = node.tokens.root()
        node.state.put("token", digest(text), entry)
        mixed = bytes(one ^ other for one, other in zip(text.encode(), otp.encode()))
        encoded = base64.b64encode(mixed).decode().rstrip("=")
        ready = {"encoded_token": encoded, "encoded_root_token": encoded, "otp_length": 0, "nonce": nonce}
        return self.status(**ready, started=True, progress=len(given), complete=True)
