"""Consul: keys and values, sessions, the catalog, and the tables that are kept there."""

import base64
import http.client
import json
import os
import threading
import time
import urllib.parse

from base import Refused, say, truthy


class Consul:
    """A client of Consul's HTTP API."""

    def __init__(self, config):
        self.config = config
        self.tls = config.consul_tls()
        self.token = os.environ.get("CONSUL_HTTP_TOKEN") or config.consul.get("token")
        # Open connections without a request, and the session that protects writes.
        self.idle, self.fence = [], None
        # As in Vault, what the active node has read or written, also that there is nothing. `None` on standbys.
        self.cache, self.changes, self.caching = None, 0, threading.Lock()

    def call(self, method, path, query=(), body=None, timeout_s=10, accepts=(200, 404)):
        """Returns status, headers and body; other statuses are errors."""
        host, port = self.config.consul_address
        headers = {"X-Consul-Token": self.token} if self.token else {}
        url = urllib.parse.quote("/v1/" + path) + "?" + urllib.parse.urlencode(list(query))
        try:
            answer, content = self.exchange(method, url, body, headers, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"Consul at {host}:{port}: {error}", 500) from error
        if answer.status not in accepts:
            words = content.decode(errors="replace").strip()
            raise Refused(f"Consul at {host}:{port}: {method} {path}: {answer.status} {words}", 500)
        return answer, content

    def exchange(self, method, url, body, headers, timeout_s):
        host, port = self.config.consul_address
        while True:
            try:
                connection, is_fresh = self.idle.pop(), False
                connection.sock.settimeout(timeout_s)
            except IndexError:
                connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self.tls)
                is_fresh = True
            try:
                connection.request(method, url, body=body, headers=headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # Consul may have closed a connection that it kept open.
                if is_fresh or isinstance(error, TimeoutError):
                    raise
                continue
            if connection.sock and len(self.idle) < 8:
                self.idle.append(connection)
            else:
                connection.close()
            return answer, content

    def get(self, key, index=0, wait_s=0, consistent=False):
        """Returns the entry of `key` or `None`, and its index. With an `index`, waits for a change."""
        query = [("consistent", "")] if consistent else []
        query += [("index", index), ("wait", f"{wait_s}s")] if index else []
        # Consul adds a sixteenth to the time at most.
        answer, content = self.call("GET", "kv/" + self.config.prefix + key, query, timeout_s=wait_s * 17 / 16 + 15)
        entry = json.loads(content)[0] if answer.status == 200 else None
        if entry:
            entry["Value"] = base64.b64decode(entry["Value"] or "")
        return entry, int(answer.headers.get("X-Consul-Index") or 0)

    def value(self, key):
        entry, _ = self.get(key, consistent=True)
        return json.loads(entry["Value"]) if entry else None

    def cached(self, key):
        """Returns the value of `key`. The active node answers what it knows without Consul."""
        cache, changes = self.cache, self.changes
        if cache is None:
            return self.value(key)
        text = cache.get(key)
        if text is None:
            text = json.dumps(self.value(key))
            with self.caching:
                # After a write in between, this may be an older value.
                if changes == self.changes:
                    cache[key] = text
        return json.loads(text)

    def remember(self, values, forgotten=()):
        """Keeps written values, and forgets keys."""
        with self.caching:
            self.changes += 1
            if self.cache is not None:
                self.cache |= {key: json.dumps(value) for key, value in values.items()}
                for key in forgotten:
                    self.cache.pop(key, None)

    def put(self, key, value, **query):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        _, content = self.call("PUT", "kv/" + self.config.prefix + key, query.items(), body)
        return content.strip() == b"true"

    def delete(self, key, **query):
        self.call("DELETE", "kv/" + self.config.prefix + key, query.items())

    def tree(self, folder):
        """Returns all values below `folder`."""
        path = self.config.prefix + folder
        answer, content = self.call("GET", "kv/" + path, [("recurse", ""), ("consistent", "")])
        entries = json.loads(content) if answer.status == 200 else []
        return {entry["Key"][len(path) :]: json.loads(base64.b64decode(entry["Value"] or "")) for entry in entries}

    def keys(self, folder):
        path = self.config.prefix + folder
        answer, content = self.call("GET", "kv/" + path, [("keys", ""), ("separator", "/")])
        return [key[len(path) :] for key in json.loads(content)] if answer.status == 200 else []

    def operation(self, verb, key, value=None, **fields):
        content = {} if value is None else {"Value": base64.b64encode(json.dumps(value).encode()).decode()}
        return {"KV": {"Verb": verb, "Key": self.config.prefix + key, **content, **fields}}

    def transact(self, operations):
        """Returns whether all operations happened; otherwise none did."""
        body = json.dumps(operations).encode()
        return self.call("PUT", "txn", body=body, accepts=(200, 409))[0].status == 200

    def write(self, values, deleted=()):
        """Writes and deletes keys, if this node still has the lock."""
        operations = [self.operation("set", key, value) for key, value in values.items()]
        operations += [self.operation("delete", key) for key in deleted]
        try:
            # Consul takes at most 64 operations at once.
            for start in range(0, len(operations), 60):
                part = operations[start : start + 60]
                fence = self.operation("check-session", "core/lock", Session=self.fence or "none")
                if not self.transact([fence, *part]):
                    raise Refused("Consul: this node lost the lock", 500)
        except Refused:
            # Some of it may have happened.
            self.remember({}, [*values, *deleted])
            raise
        self.remember(values, deleted)

    def session(self):
        body = json.dumps({"Name": "Vault Lock", "TTL": f"{self.config.session_ttl_s}s"}).encode()
        return json.loads(self.call("PUT", "session/create", body=body)[1])["ID"]

    def renew(self, session):
        return self.call("PUT", "session/renew/" + session)[0].status == 200

    def destroy(self, session):
        self.call("PUT", "session/destroy/" + session, timeout_s=3)


# So often Vault compares its tags in Consul with its state.
RECONCILE_S = 60


class Registration:
    """The service of this node in Consul's catalog. Vault serves without one if its token may not register."""

    def __init__(self, node):
        config = node.config
        self.node, self.consul = node, node.consul
        self.registered = self.complaint = self.passed = None
        self.wake, self.is_active, self.reconcile_at = threading.Event(), False, 0
        url = urllib.parse.urlsplit(config.api_addr)
        self.name = config.consul.get("service", "vault")
        self.id = f"{self.name}:{url.hostname}:{url.port}"
        self.check = self.id + ":vault-sealed-check"
        self.service = {
            "ID": self.id,
            "Name": self.name,
            "Address": config.consul.get("service_address", url.hostname),
            "Port": url.port,
            "Meta": {"external-source": "vault"},
        }
        self.tags = [tag.strip() for tag in config.consul.get("service_tags", "").split(",") if tag.strip()]

    def notify(self, is_active):
        """Changes the tags at once."""
        self.is_active, self.reconcile_at = is_active, 0
        self.wake.set()

    def run(self):
        if truthy(self.node.config.consul.get("disable_registration", False)):
            return
        while not self.node.stopping.is_set():
            try:
                self.update()
                self.complaint = None
            except Refused as error:
                self.registered, self.passed, self.reconcile_at = None, None, 0
                if str(error) != self.complaint:
                    self.complaint = str(error)
                    say(f"registration: {error}")
            self.wake.wait(1 if self.complaint else 0.5)
            self.wake.clear()
        self.remove()

    def update(self):
        node = self.node
        status = "passing" if node.unsealed.is_set() else "critical"
        now = time.monotonic()
        if now >= self.reconcile_at:
            # As with Vault, what changes in between is in the tags a minute later.
            self.reconcile_at = now + RECONCILE_S
            role, known = "active" if self.is_active else "standby", node.seal is not None
            tags = [*self.tags, role, *["initialized"] * known]
            check = {"CheckID": self.check, "Name": "Vault Sealed Status", "Status": status}
            check["TTL"] = f"{node.config.check_timeout_s}s"
            service = json.dumps({**self.service, "Tags": tags, "Check": check}).encode()
            self.consul.call("PUT", "agent/service/register", body=service)
            self.registered = True
        due_s = node.config.check_timeout_s / 2
        if self.passed and self.passed[0] == status and time.monotonic() < self.passed[1] + due_s:
            return
        verb, note = ("pass", "Vault Unsealed") if status == "passing" else ("fail", "Vault Sealed")
        self.consul.call("PUT", f"agent/check/{verb}/{self.check}", [("note", note)], accepts=(200,))
        self.passed = status, time.monotonic()

    def remove(self):
        if self.registered:
            try:
                self.consul.call("PUT", "agent/service/deregister/" + self.id, timeout_s=3)
            except Refused as error:
                say(f"registration: {error}")


class State:
    """Tables that the active node reads when it takes over. A change goes to Consul first."""

    TABLES = ("audit", "mount", "policy", "token")

    def __init__(self, consul):
        self.consul, self.tables = consul, {}

    def load(self):
        trees = {table: self.consul.tree(f"sys/{table}/") for table in self.TABLES}
        self.tables = {
            table: {urllib.parse.unquote(name): value for name, value in tree.items()} for table, tree in trees.items()
        }

    @staticmethod
    def key(table, name):
        return f"sys/{table}/{urllib.parse.quote(name, safe='')}"

    def all(self, table):
        # A copy: another thread may change the table meanwhile.
        return dict(self.tables.get(table, {}))

    def get(self, table, name):
        return self.tables.get(table, {}).get(name)

    def put(self, table, name, value):
        self.consul.write({self.key(table, name): value})
        self.tables[table][name] = value

    def remove(self, table, *names):
        self.consul.write({}, [self.key(table, name) for name in names])
        for name in names:
            self.tables[table].pop(name, None)
