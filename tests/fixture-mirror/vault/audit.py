"""Audit devices that write files."""

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import uuid

from base import Refused, say, timestamp


class AuditFile:
    """A file of an audit device, kept open as Vault does."""

    def __init__(self, entry):
        self.path, self.salt = entry["options"]["file_path"], bytes.fromhex(entry["salt"])
        self.mode = int(entry["options"].get("mode", "0600"), 8)
        self.file = None
        self.lock = threading.Lock()
        self.open()

    def open(self):
        try:
            os.makedirs(os.path.dirname(self.path), self.mode, exist_ok=True)
            self.file = os.open(self.path, os.O_APPEND | os.O_WRONLY | os.O_CREAT, self.mode)
            os.chmod(self.path, self.mode)
        except OSError as error:
            raise Refused(f'sanity check failed; unable to open "{self.path}" for writing: {error}') from error

    def close(self):
        with self.lock:
            if self.file is not None:
                os.close(self.file)
            self.file = None

    def write(self, entry):
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self.lock:
            if self.file is None:
                self.open()
            while line:
                line = line[os.write(self.file, line) :]

    def hide(self, value):
        """Replaces each text by its keyed digest."""
        if isinstance(value, dict):
            return {key: self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        if not isinstance(value, str):
            return value
        return "hmac-sha256:" + hmac.new(self.salt, value.encode(), hashlib.sha256).hexdigest()


class Audit:
    """The audit devices: each entry must reach one of them, if there are any."""

    SUPPORTED = {"file_path": None, "mode": None, "format": "json", "log_raw": "false", "hmac_accessor": "true"}

    def __init__(self, state):
        self.state, self.files = state, {}

    def load(self):
        """Opens the devices' files on this node. As in Vault, a node that can open none cannot be active."""
        self.close()
        entries = self.state.all("audit")
        for name, entry in entries.items():
            try:
                self.files[name] = AuditFile(entry)
            except Refused as error:
                say(f"audit {name}: {error}")
        if entries and not self.files:
            raise Refused("failed to setup audit table", 500)

    def reopen(self):
        """Opens the files again, after a program rotated them. Until that works there are no answers."""
        for file in list(self.files.values()):
            file.close()
            with file.lock:
                file.open()

    def close(self):
        for file in self.files.values():
            file.close()
        self.files = {}

    def enable(self, name, body):
        name, options = name.rstrip("/") + "/", body.get("options") or {}
        for used in self.state.all("audit"):
            if used.startswith(name) or name.startswith(used):
                raise Refused("path already in use")
        if body.get("type") != "file":
            raise Refused(f'unknown backend type: "{body.get("type", "")}" (this stub knows `file`)')
        if not options.get("file_path"):
            raise Refused("file_path is required")
        for key, value in options.items():
            if key not in self.SUPPORTED or str(value).lower() != (self.SUPPORTED[key] or str(value).lower()):
                raise Refused(f"this stub supports no audit option `{key}` = `{value}`")
        mode = str(options.get("mode", "0600"))
        if not re.fullmatch(r"0?[0-7]{3}", mode) or options["file_path"] in ("stdout", "discard"):
            raise Refused("this stub supports only files with a `mode` such as 0640")
        entry = {"type": "file", "description": body.get("description", ""), "local": bool(body.get("local", False))}
        entry |= {"options": options, "path": name, "salt": secrets.token_hex(32)}
        file = AuditFile(entry)
        test = {"id": str(uuid.uuid4()), "operation": "update", "namespace": {"id": "root"}, "path": "sys/audit/test"}
        try:
            file.write({"time": timestamp(), "type": "request", "auth": {"token_type": "default"}, "request": test})
        except OSError as error:
            file.close()
            raise Refused(f"audit backend failed test message: {error}") from error
        self.state.put("audit", name, entry)
        self.files[name] = file

    def disable(self, name):
        name = name.rstrip("/") + "/"
        if self.state.get("audit", name):
            self.state.remove("audit", name)
            file = self.files.pop(name, None)
            if file:
                file.close()

    def log(self, kind, request, error=None, reply=None):
        """Writes an entry to all devices. Fails if none takes it."""
        files = list(self.files.items())
        written = 0
        for name, file in files:
            try:
                file.write(self.entry(kind, request, error, reply, file.hide))
                written += 1
            except (OSError, Refused) as refusal:
                say(f"audit {name}: {refusal}")
        # Not `files`: they are closed while the node steps aside.
        if self.state.all("audit") and not written:
            raise Refused("internal error", 500)

    @staticmethod
    def entry(kind, request, error, reply, hide):
        token = request.entry or {}
        auth = {"token_type": "service" if token else "default"}
        described = {"id": request.id, "operation": request.operation, "path": request.path}
        described["namespace"] = {"id": "root"}
        if request.token:
            described["client_token"] = auth["client_token"] = hide(request.token)
        if token:
            auth |= {"accessor": hide(token["accessor"]), "display_name": token["display_name"]}
            auth |= {"policies": token["policies"], "token_policies": token["policies"]}
            auth |= {"policy_results": {"allowed": error is None or error.status != 403}}
            described["client_token_accessor"] = hide(token["accessor"])
        if request.body:
            described["data"] = hide(request.body)
        described |= {"remote_address": request.address[0], "remote_port": request.address[1]}
        entry = {"time": timestamp(), "type": kind, "auth": auth, "request": described}
        if reply:
            shown = {"data": hide(reply.data)} if reply.data else {}
            if reply.auth:
                secret = {key: hide(reply.auth[key]) for key in ("client_token", "accessor")}
                shown["auth"] = reply.auth | secret
            entry["response"] = shown
        return entry | ({"error": str(error)} if error else {})
