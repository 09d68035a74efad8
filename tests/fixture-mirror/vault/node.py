"""One server of the cluster, and its seal."""

import base64
import random
import secrets
import socket
import threading
import time
import uuid

from audit import Audit
from base import Refused, VERSION, digest, say
from consul import Consul, State
from kv import Mounts
from leadership import Leadership
from policies import DEFAULT_POLICY
from tokens import Tokens


class Node:
    """One server: sealed or not, standby or active."""

    def __init__(self, config):
        self.config, self.consul = config, Consul(config)
        self.lock = threading.RLock()
        self.unsealed, self.stopping = threading.Event(), threading.Event()
        self.shares, self.nonce = [], ""
        # As Vault does, a node remembers that there is a seal, until it is started again.
        self.seal, self.is_orphaned = None, False
        self.state = State(self.consul)
        self.audit, self.mounts, self.tokens = Audit(self.state), Mounts(self.state), Tokens(self.state)
        self.leadership = Leadership(self)

    @property
    def active(self):
        return self.leadership.active_since is not None

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
            self.leadership.start()
            say("unsealed")

    def check_shares(self, given):
        if any(digest(share) not in self.seal["keys"] for share in given):
            raise Refused("unable to retrieve stored keys: invalid key: failed to decrypt keys from storage")

    def check_seal(self):
        """Checks, before this node becomes active, that the storage still has the seal."""
        if not self.consul.value("core/seal-config"):
            self.is_orphaned = True
            self.unsealed.clear()
            self.seal_config()

    def load(self):
        """Reads the tables, and opens the audit devices."""
        self.state.load()
        self.audit.load()

    def seal_again(self):
        """Gives up the role, and forgets the shares. Requests that come meanwhile are refused."""
        if self.unsealed.is_set():
            self.unsealed.clear()
            self.leadership.end()
            # Vault closes the cluster address, whose listener looks twice a second whether it is to end.
            time.sleep(random.uniform(0, 0.5))
            say("sealed")

    def described(self):
        """Returns this node as `sys/ha-status` shows it."""
        addresses = {"api_address": self.config.api_addr, "cluster_address": self.config.cluster_addr}
        return {"hostname": socket.gethostname(), **addresses, "version": VERSION}


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
