"""From standbys to the active node: forwarded requests and echoes, by the cluster address.

Vault uses gRPC with a certificate that only nodes of the cluster know. The stub uses HTTP with a key that only they know.
"""

import http.client
import json
import random
import select
import threading
import time

from base import Refused, say

# The pause of gRPC after the first failed attempt to connect, and its growth.
BACKOFF_S, BACKOFF_FACTOR, BACKOFF_JITTER = 1.0, 1.6, 0.2
ECHO_S = 5
# A node without an echo for so long is no member.
MEMBER_S = 3 * ECHO_S
KEY_HEADER, CLIENT_HEADER = "X-Vault-Stub-Cluster", "X-Vault-Stub-Client"
# The answer to a node that does not know the key.
MISDIRECTED = 421
PASSED_ON = ("X-Vault-Token", "Authorization", "X-Vault-Wrap-TTL")


class Unavailable(Exception):
    """There is no connection to the active node, or it ended during a request."""


class Forwarder:
    """A standby's connections to one active node."""

    def __init__(self, config, address, key):
        self.address, self.key = address, key
        self.tls = config.consul_tls()
        # Certificates of Vault name no address of their node; the authority is that of the cluster.
        self.tls.check_hostname = False
        self.idle, self.dialing, self.closed = [], threading.Lock(), threading.Event()
        self.next_attempt, self.backoff_s = 0, BACKOFF_S

    def request(self, method, path, content, headers, timeout_s=60):
        """Returns status, headers and body."""
        connection = self.take()
        try:
            connection.sock.settimeout(timeout_s)
            connection.request(method, path, body=content, headers=headers | {KEY_HEADER: self.key})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(repr(error)) from error
        if response.status == MISDIRECTED:
            connection.close()
            raise Unavailable("another node has the address of the active one")
        if connection.sock and len(self.idle) < 16:
            self.idle.append(connection)
        else:
            connection.close()
        return response.status, response.headers, body

    def take(self):
        """Returns an open connection. After a failed attempt, there is none until the next one is due."""
        while self.idle:
            connection = self.idle.pop()
            # A readable connection without a request was closed by the other side.
            if connection.sock and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
        with self.dialing:
            if self.closed.is_set() or time.monotonic() < self.next_attempt:
                raise Unavailable("no connection to the active node")
            connection = http.client.HTTPSConnection(*self.address, timeout=20, context=self.tls)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                jitter = random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)
                self.next_attempt = time.monotonic() + self.backoff_s * jitter
                self.backoff_s *= BACKOFF_FACTOR
                raise Unavailable(repr(error)) from error
            self.backoff_s = BACKOFF_S
            return connection

    def echo(self, described):
        """Tells the active node of this standby at once, and then every 5 seconds."""
        content = json.dumps(described).encode()
        while True:
            try:
                self.request("POST", "/echo", content, {}, timeout_s=2)
            except Unavailable as error:
                say(f"error sending echo request to active node: {error}")
            if self.closed.wait(ECHO_S):
                return

    def close(self):
        self.closed.set()
        while self.idle:
            self.idle.pop().close()


class Members:
    """The standbys that the active node knows by their echoes."""

    def __init__(self):
        self.echoes = {}

    def record(self, described):
        self.echoes[described["cluster_address"]] = described, time.time()

    def all(self):
        """Returns each standby and the time of its last echo."""
        return [(node, at_s) for node, at_s in list(self.echoes.values()) if at_s > time.time() - MEMBER_S]


def forward(forwarder, handler, body):
    """Returns the answer of the active node to the request of `handler`."""
    headers = {name: handler.headers[name] for name in PASSED_ON if name in handler.headers}
    headers[CLIENT_HEADER] = "{}:{}".format(*handler.client_address)
    content = json.dumps(body).encode() if handler.method == "POST" else None
    status, headers, content = forwarder.request(handler.command, handler.path, content, headers)
    kept = [(name, headers[name]) for name in ("Location", "X-Vault-Hostname") if name in headers]
    return status, kept, json.loads(content) if content else None


def client_of(text):
    """Returns the address of the client of a forwarded request."""
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise Refused("this is no node of the cluster", MISDIRECTED)
    return host, int(port)
