"""Endpoints for which a token is needed."""

import base64
import re
import uuid

from base import Refused, Reply, digest
from kv import Kv1, Kv2, Mounts
from policies import Acl, RootAcl, SUDO, parse_policy
from tokens import MAX_TTL_S, Tokens


class Request:
    """A request for which a token is needed."""

    def __init__(self, handler, method, path, query, body):
        self.id, self.node = str(uuid.uuid4()), handler.node
        self.operation = {"GET": "read", "POST": "update"}.get(method, method.lower())
        self.path = path + "/" if self.operation == "list" and not path.endswith("/") else path
        self.query, self.body, self.address = query, body, handler.client_address
        bearer = handler.headers.get("Authorization", "")
        bearer = bearer.removeprefix("Bearer ").strip() if bearer.startswith("Bearer ") else ""
        self.token = handler.headers.get("X-Vault-Token") or bearer
        self.entry, self.acl = None, Acl([])

    def is_write(self):
        return self.operation in ("create", "update")

    def capabilities(self):
        return self.acl.capabilities(self.path, self.operation == "list")

    def is_sudo(self):
        return not self.capabilities().isdisjoint({"root", "sudo"})

    def authenticate(self):
        self.entry = self.node.tokens.find(self.token) if self.token else None
        if not self.entry:
            raise Refused("permission denied", 403)
        if "root" in self.entry["policies"]:
            self.acl = RootAcl()
        else:
            texts = [self.node.state.get("policy", name) for name in self.entry["policies"]]
            self.acl = Acl([rule for text in texts if text for rule in parse_policy(text)])

    def authorize(self):
        if re.fullmatch(r"sys/internal/ui/mounts(/.*)?", self.path):
            if self.token or self.path.rstrip("/") != "sys/internal/ui/mounts":
                self.authenticate()
            return
        self.authenticate()
        granted = self.capabilities()
        if "root" in granted:
            return
        if self.operation == "update" and not self.path.startswith(("sys/", "auth/")):
            self.operation = self.existing_or_new()
        if self.operation not in granted or (SUDO.fullmatch(self.path) and "sudo" not in granted):
            raise Refused("1 error occurred:\n\t* permission denied\n\n", 403)

    def existing_or_new(self):
        """Returns `update` if the written path exists, and `create` if not."""
        mount = self.node.mounts.find(self.path)
        entry = self.node.state.get("mount", mount) if mount else None
        if not entry or (entry["version"] == "2" and not self.path[len(mount) :].startswith(("data/", "metadata/"))):
            return "update"
        kind = Kv2(self.node.state, mount, entry) if entry["version"] == "2" else Kv1(self.node.state, mount, entry)
        return "update" if kind.exists(self.path[len(mount) :]) else "create"


class Endpoints:
    """Vault's endpoints below `sys/` and `auth/token/`, each for the operations that it has."""

    ROUTES = [
        (r"sys/audit/?", {"read": "audits"}),
        (r"sys/audit/(.+)", {"update": "enable_audit", "delete": "disable_audit"}),
        (r"sys/auth/?", {"read": "auth_mounts"}),
        (r"sys/mounts/?", {"read": "mounts"}),
        (r"sys/mounts/(.+?)/tune", {"read": "tuned"}),
        (r"sys/mounts/(.+)", {"read": "mount", "update": "enable_mount", "delete": "disable_mount"}),
        (r"sys/internal/ui/mounts/?", {"read": "visible_mounts"}),
        (r"sys/internal/ui/mounts/(.+)", {"read": "visible_mount"}),
        (r"sys/policies/acl/?", {"read": "policies", "list": "policies"}),
        (r"sys/policies/acl/(.+)", {"read": "policy", "update": "write_policy", "delete": "delete_policy"}),
        (r"sys/capabilities-self", {"update": "own_capabilities"}),
        (r"sys/ha-status", {"read": "ha_status"}),
        (r"auth/token/(create|create-orphan)", {"update": "create_token"}),
        (r"auth/token/lookup-self", {"read": "own_token", "update": "own_token"}),
        (r"auth/token/lookup", {"update": "token"}),
        (r"auth/token/lookup-accessor", {"update": "token_with_accessor"}),
        (r"auth/token/accessors/?", {"list": "accessors"}),
        (r"auth/token/renew-self", {"update": "renew_own_token"}),
        (r"auth/token/renew", {"update": "renew_token"}),
        (r"auth/token/revoke-self", {"update": "revoke_own_token"}),
        (r"auth/token/(revoke|revoke-orphan)", {"update": "revoke_token"}),
        (r"auth/token/revoke-accessor", {"update": "revoke_with_accessor"}),
    ]

    def __init__(self, node):
        self.node, self.state = node, node.state
        self.routes = [(re.compile(pattern), methods) for pattern, methods in self.ROUTES]

    def serve(self, request):
        """Returns the reply to an authorized request."""
        for pattern, methods in self.routes:
            found = pattern.fullmatch(request.path)
            if found:
                name = methods.get("update" if request.is_write() else request.operation)
                if not name:
                    raise Refused("1 error occurred:\n\t* unsupported operation\n\n", 405)
                return getattr(self, name)(request, *found.groups()) or Reply()
        if request.path.startswith(("sys/", "auth/token/")):
            raise Refused("1 error occurred:\n\t* unsupported path\n\n", 404)
        mount = self.node.mounts.find(request.path)
        if not mount:
            raise Refused(f'no handler for route "{request.path}". route entry not found.', 404)
        return self.node.mounts.serve(mount, request)

    def audits(self, _request):
        entries = self.state.all("audit").items()
        return Reply({name: {key: entry[key] for key in entry if key != "salt"} for name, entry in entries}, flat=True)

    def enable_audit(self, request, name):
        self.node.audit.enable(name, request.body)

    def disable_audit(self, _request, name):
        self.node.audit.disable(name)

    def auth_mounts(self, _request):
        return Reply(Mounts.auth(), flat=True)

    def mounts(self, _request):
        return Reply(self.node.mounts.all(), flat=True)

    def mount(self, _request, path):
        path = path.strip("/") + "/"
        found = self.node.mounts.all().get(path)
        if not found:
            raise Refused(f"No secret engine mount at {path}")
        return Reply(found, flat=True)

    def tuned(self, request, path):
        found = self.mount(request, path).data
        ttl = {"default_lease_ttl": MAX_TTL_S, "max_lease_ttl": MAX_TTL_S, "force_no_cache": False}
        return Reply(ttl | {"description": found["description"], "options": found["options"]}, flat=True)

    def enable_mount(self, request, path):
        self.node.mounts.create(path, request.body)

    def disable_mount(self, _request, path):
        self.node.mounts.remove(path)

    def visible_mounts(self, request):
        reaches = request.acl.reaches
        auth = {path: entry for path, entry in Mounts.auth().items() if reaches("auth/" + path)}
        shown = {path: entry for path, entry in self.node.mounts.all().items() if reaches(path)}
        return Reply({"auth": auth, "secret": shown})

    def visible_mount(self, request, path):
        path = path.strip("/") + "/"
        mount = self.node.mounts.find(path)
        if not mount or not request.acl.reaches(mount):
            words = "preflight capability check returned 403, please ensure client's policies grant access to path"
            raise Refused(f'{words} "{path}"', 403)
        return Reply(self.node.mounts.all()[mount] | {"path": mount})

    def policies(self, _request):
        return Reply({"keys": sorted(["root", *self.state.all("policy")])})

    def policy(self, _request, name):
        name = name.lower()
        text = "" if name == "root" else self.state.get("policy", name)
        return None if text is None else Reply({"name": name, "policy": text})

    def write_policy(self, request, name):
        text = request.body.get("policy")
        if not isinstance(text, str) or not text:
            raise Refused("'policy' parameter not supplied or empty")
        try:
            text = base64.b64decode(text, validate=True).decode()
        except ValueError:
            pass
        parse_policy(text)
        if name.lower() == "root":
            raise Refused('cannot update "root" policy')
        self.state.put("policy", name.lower(), text)
        return Reply(warnings=[f"policy name was converted to {name.lower()}"] if name != name.lower() else None)

    def delete_policy(self, _request, name):
        if name.lower() in ("root", "default"):
            raise Refused('cannot delete "root" policy' if name.lower() == "root" else "cannot delete default policy")
        self.state.remove("policy", name.lower())

    def own_capabilities(self, request):
        paths = request.body.get("paths") or request.body.get("path") or []
        found = {}
        for path in paths if isinstance(paths, list) else [paths]:
            found[path] = sorted(request.acl.capabilities(path, path.endswith("/"))) or ["deny"]
        if not found:
            raise Refused("paths must be supplied")
        return Reply(found, flat=True)

    def ha_status(self, _request):
        return Reply({"nodes": self.node.leadership.nodes()}, flat=True)

    def create_token(self, request, kind):
        return self.node.tokens.create(request, kind == "create-orphan")

    def own_token(self, request):
        return Reply(Tokens.describe(request.token, request.entry))

    def token(self, request):
        text = request.body.get("token") or request.token
        entry = self.node.tokens.find(text)
        if not entry:
            raise Refused("bad token", 403)
        return Reply(Tokens.describe(text, entry))

    def token_with_accessor(self, request):
        return Reply(Tokens.describe("", self.node.tokens.with_accessor(request.body.get("accessor"))[1]))

    def accessors(self, _request):
        return Reply({"keys": [entry["accessor"] for entry in self.state.all("token").values()]})

    def renew_own_token(self, request):
        return self.node.tokens.renew(request.token, request.body.get("increment"))

    def renew_token(self, request):
        return self.node.tokens.renew(request.body.get("token") or request.token, request.body.get("increment"))

    def revoke_own_token(self, request):
        self.node.tokens.revoke(digest(request.token))

    def revoke_token(self, request, kind):
        text = request.body.get("token")
        if not text:
            raise Refused("missing token ID")
        self.node.tokens.revoke(digest(text), with_children=kind == "revoke")

    def revoke_with_accessor(self, request):
        self.node.tokens.revoke(self.node.tokens.with_accessor(request.body.get("accessor"))[0])
