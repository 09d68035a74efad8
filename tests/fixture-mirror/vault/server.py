"""HTTP over TLS, and the endpoints without a token."""

import hmac
import http.server
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse

from base import Refused, VERSION, say, truthy
from endpoints import Request
from forwarding import CLIENT_HEADER, KEY_HEADER, MISDIRECTED, Unavailable, client_of, forward


class Handler(http.server.BaseHTTPRequestHandler):
    """Vault's HTTP API: endpoints without a token here, the others by `Endpoints`."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    node = endpoints = generation = None
    # One change at a time: tables and versions are read, changed and written.
    changing = threading.RLock()
    OPEN = {
        "health": ("GET",),
        "seal-status": ("GET",),
        "leader": ("GET",),
        "init": ("GET", "POST"),
        "unseal": ("POST",),
        "seal": ("POST",),
        "step-down": ("POST",),
        "generate-root/attempt": ("GET", "POST", "DELETE"),
        "generate-root/update": ("POST",),
    }

    def answer(self, status, body=None, headers=()):
        content = b"" if body is None else json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("X-Vault-Stub", "fixture")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
        if self.node.config.shows_hostname and "X-Vault-Hostname" not in dict(headers):
            self.send_header("X-Vault-Hostname", socket.gethostname())
        for name, value in headers:
            self.send_header(name, value)
        if content:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self, words):
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.method != "POST":
            return {}
        try:
            body = json.loads(content.strip() or b"{}")
        except ValueError as error:
            raise Refused(words) from error
        if not isinstance(body, (dict, type(None))):
            raise Refused(words)
        return body or {}

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.method = {"PUT": "POST", "HEAD": "GET"}.get(self.command, self.command)
        if self.method == "GET" and truthy(self.query.get("list", False)):
            self.method = "LIST"
        try:
            name = path.removeprefix("/v1/sys/")
            self.check_origin()
            if path.startswith("/v1/sys/") and name in self.OPEN:
                body = self.body("failed to parse JSON input: expected an object")
                if self.method not in self.OPEN[name]:
                    raise Refused("", 405)
                getattr(self, "sys_" + re.sub(r"\W", "_", name))(body)
            elif not path.startswith("/v1/"):
                self.body("")
                raise Refused("", 404)
            else:
                self.protected(path.removeprefix("/v1/"), self.body("error parsing JSON"))
        except Refused as error:
            self.answer(error.status, error.errors())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # A member of the body has a type that Vault would convert or refuse.
            say(f"{self.command} {path}: {error!r}")
            self.answer(500, {"errors": ["internal error"]})

    def check_origin(self):
        """Refuses a forwarded request that is not from this cluster."""

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_LIST = do_PATCH = serve

    def code(self, name, default):
        text = self.query.get(name, "")
        return int(text) if text.isdigit() and 100 <= int(text) <= 599 else default

    def named(self):
        """Returns the members that only unsealed nodes show."""
        seal = self.node.seal if self.node.unsealed.is_set() else None
        return {key: seal[key] for key in ("cluster_name", "cluster_id")} if seal else {}

    def sys_health(self, _body):
        node = self.node
        is_sealed = not node.unsealed.is_set()
        with node.leadership.state.read():
            is_active = node.active
        try:
            seal = node.seal_config()
        except Refused as error:
            raise Refused("", error.status) from error
        accepts = lambda name: name in self.query and self.query[name].lower() not in ("false", "0")
        active = self.code("activecode", 200)
        if not seal:
            status = self.code("uninitcode", 501)
        elif is_sealed:
            status = self.code("sealedcode", 503)
        elif not is_active:
            status = active if accepts("standbyok") else self.code("standbycode", 429)
        else:
            status = active
        replication = "unknown" if is_sealed else "disabled"
        health = {
            "initialized": bool(seal),
            "sealed": is_sealed,
            "standby": not is_active,
            "performance_standby": False,
            "replication_performance_mode": replication,
            "replication_dr_mode": replication,
            "server_time_utc": int(time.time()),
            "version": VERSION,
        }
        self.answer(status, health | self.named())

    def sys_seal_status(self, _body=None):
        node, seal = self.node, self.node.seal_config()
        status = {
            "type": "shamir",
            "initialized": bool(seal),
            "sealed": not node.unsealed.is_set(),
            "t": seal["t"] if seal else 0,
            "n": seal["n"] if seal else 0,
            "progress": len(node.shares),
            "nonce": node.nonce,
            "version": VERSION,
            "build_date": "1970-01-01T00:00:00Z",
            "migration": False,
            "recovery_seal": False,
            "storage_type": "consul",
        }
        self.answer(200, status | self.named())

    def sys_leader(self, _body):
        leadership = self.node.leadership
        with leadership.state.read():
            self.check_unsealed()
            leader, since = leadership.leader(), leadership.active_since
        own = self.node.config if since else None
        addresses = leader or own
        return self.answer(
            200,
            {
                "ha_enabled": True,
                "is_self": since is not None,
                "active_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", since) if since else "0001-01-01T00:00:00Z",
                "leader_address": (leader.redirect_addr if leader else own.api_addr) if addresses else "",
                "leader_cluster_address": addresses.cluster_addr if addresses else "",
                "performance_standby": False,
                "performance_standby_last_remote_wal": 0,
            },
        )

    def sys_init(self, body):
        if self.method == "GET":
            self.answer(200, {"initialized": bool(self.node.seal_config())})
        else:
            self.answer(200, self.node.initialize(body))

    def sys_unseal(self, body):
        node = self.node
        if body.get("reset"):
            with node.lock:
                node.shares, node.nonce = [], ""
        elif not node.unsealed.is_set():
            node.unseal(str(body.get("key", "")))
        self.sys_seal_status()

    def sys_seal(self, _body):
        node = self.node
        if not node.unsealed.is_set():
            return self.answer(204)
        if not node.active:
            raise Refused("vault cannot seal when in standby mode; please restart instead", 500)
        self.permit("sys/seal")
        node.seal_again()
        return self.answer(204)

    def sys_step_down(self, _body):
        if self.is_active(_body):
            self.permit("sys/step-down")
            self.node.leadership.step_down()
            self.answer(204)

    def permit(self, path):
        """Checks a request that ends the active role, after which no audit entry can be written."""
        request = Request(self, "POST", path, {}, {})
        request.authorize()
        try:
            self.node.audit.log("request", request)
        except Refused as error:
            raise Refused("failed to audit request, cannot continue", 500) from error

    def sys_generate_root_attempt(self, body):
        if self.is_active(body):
            if self.method == "DELETE":
                self.generation.cancel()
                self.answer(204)
            else:
                self.answer(200, self.generation.start(body) if self.method == "POST" else self.generation.status())

    def sys_generate_root_update(self, body):
        if self.is_active(body):
            with self.changing:
                self.answer(200, self.generation.update(body))

    def check_unsealed(self):
        if not self.node.unsealed.is_set():
            raise Refused("Vault is sealed", 503)

    def is_active(self, body):
        """Returns whether this node serves the request. If not, it has answered."""
        leadership = self.node.leadership
        with leadership.state.read():
            self.check_unsealed()
            leader = leadership.leader()
            if self.node.active:
                return True
        if not leader:
            raise Refused("local node not active but active cluster node not found", 500)
        forwarder = leadership.forwarder
        if not self.may_forward() or not forwarder:
            self.redirect()
            return False
        try:
            status, headers, content = forward(forwarder, self, body)
        except Unavailable as error:
            say(f"error during forwarded RPC request: {error}")
            self.redirect()
        else:
            self.answer(status, content, headers)
        return False

    def may_forward(self):
        return not self.headers.get("X-Vault-No-Request-Forwarding")

    def redirect(self):
        """Names the active node to the client."""
        self.check_unsealed()
        leadership = self.node.leadership
        with leadership.state.read():
            leader = leadership.leader()
            active = self.node.config.api_addr if self.node.active else leader and leader.redirect_addr
        if not active:
            raise Refused("no active Vault instance found", 503)
        self.answer(307, headers=[("Location", active.rstrip("/") + self.path)])

    def protected(self, path, body):
        """Handles requests that need a token and the active node."""
        if not self.is_active(body):
            return
        if self.headers.get("X-Vault-Wrap-TTL"):
            raise Refused("this stub supports no wrapping")
        request = Request(self, self.method, path, self.query, body)
        with self.node.leadership.state.read():
            served = self.serve_active(request) if self.node.active else None
        if served:
            self.answer(*served)
        else:
            self.redirect()

    def serve_active(self, request):
        """Returns status and body of the answer of the active node."""
        if request.operation in ("read", "list"):
            return self.logged(request)
        with self.changing:
            return self.logged(request)

    def logged(self, request):
        """Serves a request, with an audit entry before and after. Without them there is no answer."""
        audit, refusal, reply = self.node.audit, None, None
        try:
            request.authorize()
        except Refused as error:
            refusal = error
        audit.log("request", request, refusal)
        try:
            if not refusal:
                reply = self.endpoints.serve(request)
        except Refused as error:
            refusal = error
        audit.log("response", request, refusal, reply)
        return (refusal.status, refusal.errors()) if refusal else reply.body(request)

    def log_message(self, *_words):
        """Logs no requests: their paths may be names of secrets."""


class ClusterHandler(Handler):
    """What the active node answers to other nodes."""

    def check_origin(self):
        key = self.node.leadership.cluster_key
        if not key or not hmac.compare_digest(self.headers.get(KEY_HEADER, ""), key):
            self.close_connection = True
            raise Refused("this is no node of the cluster", MISDIRECTED)
        if CLIENT_HEADER in self.headers:
            self.client_address = client_of(self.headers[CLIENT_HEADER])

    def may_forward(self):
        return False

    def do_POST(self):
        if self.path != "/echo":
            return self.serve()
        self.method = "POST"
        try:
            described = self.body("expected an object")
            self.check_origin()
            self.node.leadership.members.record(described)
            self.answer(204)
        except Refused as error:
            self.answer(error.status, error.errors())


class Server(http.server.ThreadingHTTPServer):
    """Does the TLS handshake in the thread of each connection, so that a silent client delays no other."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, config, address, handler=Handler):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)
        self.tls, self.is_stopped = config.listener_tls(), False

    def serve_forever(self):
        while not self.is_stopped:
            try:
                connection, address = self.socket.accept()
            except OSError as error:
                if not self.is_stopped:
                    say(f"accept: {error}")
                    time.sleep(0.01)
                continue
            self.process_request(connection, address)

    def stop(self):
        """Refuses new connections at once. Open ones are served."""
        self.is_stopped = True
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def finish_request(self, request, client_address):
        request.settimeout(10)
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:
                self.answer_all(secured, client_address)
        except OSError as error:
            # Health probes of load balancers connect and close without a request.
            if not isinstance(error, (ConnectionResetError, BrokenPipeError, TimeoutError, ssl.SSLEOFError)):
                say(f"connection from {client_address[0]}: {error}")

    def answer_all(self, connection, client_address):
        """Answers all requests of a connection."""
        super().finish_request(connection, client_address)


class ClusterServer(Server):
    """The cluster address. Only the active node answers there."""

    def __init__(self, config, leadership):
        super().__init__(config, config.cluster_address, ClusterHandler)
        self.leadership, self.connections = leadership, set()

    def finish_request(self, request, client_address):
        if self.leadership.cluster_key and self.leadership.active_since:
            super().finish_request(request, client_address)

    def answer_all(self, connection, client_address):
        self.connections.add(connection)
        try:
            super().answer_all(connection, client_address)
        finally:
            self.connections.discard(connection)

    def disconnect(self):
        """Closes the connections of other nodes."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It was closed meanwhile.
                continue
