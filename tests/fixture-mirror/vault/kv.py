"""The table of mounts, and secrets engines of type `kv`."""

import secrets
import time
import uuid

from base import Refused, Reply, VERSION, digest, timestamp
from tokens import MAX_TTL_S

WRONG_PATH = (
    "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If "
    "using the Vault CLI, use 'vault kv {}' for this operation."
)
# For so long a new mount of version 2 refuses requests, as Vault may.
UPGRADE_S = 1.0
CONFIG = {"max_versions": 0, "cas_required": False, "delete_version_after": "0s"}


class Mounts:
    """The table of mounts by their path with a slash at its end."""

    BUILT_IN = {
        "cubbyhole/": ("cubbyhole", "per-token private secret storage"),
        "identity/": ("identity", "identity store"),
        "sys/": ("system", "system endpoints used for control, policy and debugging"),
    }

    def __init__(self, state):
        self.state = state

    @staticmethod
    def entry(path, kind, description="", options=None):
        return {
            "accessor": f"{kind}_{digest(path)[:8]}",
            "config": {"default_lease_ttl": 0, "force_no_cache": False, "max_lease_ttl": 0},
            "description": description,
            "external_entropy_access": False,
            "local": kind == "cubbyhole",
            "options": options,
            "plugin_version": "",
            "running_plugin_version": f"v{VERSION}",
            "running_sha256": "",
            "seal_wrap": kind == "system",
            "type": kind,
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, path)),
        }

    def all(self):
        found = {path: self.entry(path, *named) for path, named in self.BUILT_IN.items()}
        found |= {path: entry["shown"] for path, entry in self.state.all("mount").items()}
        return dict(sorted(found.items()))

    @staticmethod
    def auth():
        token = Mounts.entry("token/", "token", "token based credentials")
        token |= {"accessor": "auth_" + token["accessor"]}
        return {"token/": token | {"config": token["config"] | {"token_type": "default-service"}}}

    def find(self, path):
        """Returns the mount of `path`, or `None`."""
        return max((mount for mount in self.all() if (path + "/").startswith(mount)), key=len, default=None)

    def create(self, path, body):
        path, kind, options = path.strip("/") + "/", body.get("type", ""), body.get("options") or {}
        for used in [*self.all(), "auth/"]:
            if used.startswith(path) or path.startswith(used):
                raise Refused(f"path is already in use at {used}")
        if not isinstance(kind, str) or not kind:
            raise Refused("backend type must be specified as a string")
        version = {"kv": str(options.get("version", "1")), "kv-v2": "2", "kv-v1": "1"}.get(kind)
        if version not in ("1", "2"):
            raise Refused(f"plugin not found in the catalog: {kind} (this stub knows `kv` of versions 1 and 2)")
        options = {"version": version} if options or "-" in kind else None
        shown = self.entry(path, "kv", body.get("description", ""), options)
        # Another UUID each time: what a removed mount had does not come back.
        shown |= {"uuid": str(uuid.uuid4()), "accessor": "kv_" + secrets.token_hex(4)}
        shown |= {"deprecation_status": "supported"}
        entry = {"shown": shown, "version": version, "config": CONFIG, "made_s": time.time()}
        self.state.put("mount", path, entry)

    def remove(self, path):
        path = path.strip("/") + "/"
        if path in self.BUILT_IN:
            raise Refused(f'cannot unmount "{path}"')
        entry = self.state.get("mount", path)
        if entry:
            self.state.remove("mount", path)
            self.state.consul.delete(f"logical/{entry['shown']['uuid']}/", recurse="")

    def serve(self, mount, request):
        entry = self.state.get("mount", mount)
        if not entry:
            raise Refused(f"this stub has no `{mount}`", 404)
        kind = Kv2 if entry["version"] == "2" else Kv1
        return kind(self.state, mount, entry).serve(request, request.path[len(mount) :])


class Kv1:
    """A mount of keys and values without versions."""

    def __init__(self, state, _mount, entry):
        self.consul, self.folder = state.consul, f"logical/{entry['shown']['uuid']}/"

    def exists(self, path):
        return self.consul.cached(self.folder + path) is not None

    def serve(self, request, path):
        if request.operation == "list":
            return Reply({"keys": self.consul.keys(self.folder + path)})
        if not path or path.endswith("/") or ".." in path.split("/"):
            raise Refused("", 404)
        if request.operation == "read":
            return Reply(self.consul.cached(self.folder + path), lease_s=MAX_TTL_S)
        if request.operation == "delete":
            self.consul.write({}, [self.folder + path])
        elif request.is_write():
            if not request.body:
                raise Refused("missing data fields")
            self.consul.write({self.folder + path: request.body})
        else:
            raise Refused("1 error occurred:\n\t* unsupported operation\n\n", 405)
        return Reply()


class Kv2:
    """A mount of keys with versions: `metadata/PATH` has all but the data, which is below the digest of the path."""

    def __init__(self, state, mount, entry):
        self.state, self.consul, self.mount, self.entry = state, state.consul, mount, entry
        self.folder = f"logical/{entry['shown']['uuid']}/"

    def metadata(self, path):
        return self.consul.cached(f"{self.folder}metadata/{path}")

    def exists(self, path):
        kind, _, name = path.partition("/")
        return kind in ("data", "metadata") and self.metadata(name) is not None

    def version_key(self, path, version):
        return f"{self.folder}versions/{digest(path)}/{version}"

    def serve(self, request, path):
        if time.time() < self.entry["made_s"] + UPGRADE_S:
            raise Refused(
                "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period "
                "and will resume service shortly."
            )
        kind, _, name = path.partition("/")
        is_secret = name and not name.endswith("/") and ".." not in name.split("/")
        operation = "update" if request.is_write() else request.operation
        if kind == "metadata" and operation == "list":
            return Reply({"keys": self.consul.keys(f"{self.folder}metadata/{name}")})
        handlers = {"config": ("read", "update"), **dict.fromkeys(("data", "metadata"), ("read", "update", "delete"))}
        handlers |= dict.fromkeys(("delete", "undelete", "destroy"), ("update",))
        if kind not in handlers or bool(is_secret) == (kind == "config") or operation == "list":
            verb = {"read": "get", "update": "put"}.get(operation, operation)
            return Reply(status=404, warnings=[WRONG_PATH.format(verb)])
        if operation not in handlers[kind]:
            raise Refused("1 error occurred:\n\t* unsupported operation\n\n", 405)
        if kind in ("delete", "undelete", "destroy"):
            return self.mark(kind, name, request.body.get("versions"))
        return getattr(self, f"{kind}_{operation}")(request, name)

    def config_read(self, _request, _name):
        return Reply(self.entry["config"])

    def config_update(self, request, _name):
        self.check(request.body)
        changed = {key: value for key, value in request.body.items() if key in ("max_versions", "cas_required")}
        self.state.put("mount", self.mount, self.entry | {"config": self.entry["config"] | changed})
        return Reply()

    @staticmethod
    def check(body):
        if not isinstance(body.get("max_versions", 0), int) or not isinstance(body.get("cas_required", False), bool):
            raise Refused("expected a number as max_versions, and a boolean as cas_required")
        if body.get("delete_version_after"):
            raise Refused("this stub supports no `delete_version_after`")

    def data_read(self, request, name):
        found = self.metadata(name)
        number = request.query.get("version", "0")
        if not number.isdigit():
            raise Refused("error converting input for field \"version\"")
        number = str(int(number) or (found or {}).get("current_version"))
        version = (found or {"versions": {}})["versions"].get(number)
        if not version:
            return Reply()
        metadata = version | {"version": int(number), "custom_metadata": found["custom_metadata"]}
        if version["deletion_time"] or version["destroyed"]:
            return Reply({"data": None, "metadata": metadata}, status=404)
        return Reply({"data": self.consul.cached(self.version_key(name, number)), "metadata": metadata})

    def data_update(self, request, name):
        data, options, config = request.body.get("data"), request.body.get("options") or {}, self.entry["config"]
        if not isinstance(data, dict):
            raise Refused("no data provided")
        found = self.metadata(name) or self.new()
        if "cas" in options:
            if options["cas"] != found["current_version"]:
                raise Refused("check-and-set parameter did not match the current version")
        elif config["cas_required"] or found["cas_required"]:
            raise Refused("check-and-set parameter required for this call")
        now, number = timestamp(), found["current_version"] + 1
        version = {"created_time": now, "deletion_time": "", "destroyed": False}
        found |= {"current_version": number, "updated_time": now}
        found["versions"][str(number)] = version
        oldest = number + 1 - (found["max_versions"] or config["max_versions"] or 10)
        gone = [one for one in found["versions"] if int(one) < oldest]
        for one in gone:
            del found["versions"][one]
        if gone:
            found["oldest_version"] = oldest
        # The version comes first: without its metadata it is not seen.
        written = {self.version_key(name, number): data, f"{self.folder}metadata/{name}": found}
        self.consul.write(written, [self.version_key(name, one) for one in gone])
        return Reply(version | {"version": number, "custom_metadata": found["custom_metadata"]})

    def data_delete(self, _request, name):
        current = (self.metadata(name) or {}).get("current_version", 0)
        return self.mark("delete", name, [current])

    @staticmethod
    def new():
        now = timestamp()
        made = {"created_time": now, "updated_time": now, "current_version": 0, "oldest_version": 0, "versions": {}}
        return made | CONFIG | {"custom_metadata": None}

    def metadata_read(self, _request, name):
        return Reply(self.metadata(name))

    def metadata_update(self, request, name):
        self.check(request.body)
        known = ("max_versions", "cas_required", "custom_metadata")
        changed = {key: value for key, value in request.body.items() if key in known}
        self.consul.write({f"{self.folder}metadata/{name}": (self.metadata(name) or self.new()) | changed})
        return Reply()

    def metadata_delete(self, _request, name):
        versions = (self.metadata(name) or {"versions": {}})["versions"]
        self.consul.write({}, [f"{self.folder}metadata/{name}", *[self.version_key(name, one) for one in versions]])
        return Reply()

    def mark(self, kind, name, numbers):
        """Deletes, undeletes or destroys versions."""
        if not numbers:
            raise Refused("No version number provided")
        found, gone = self.metadata(name), []
        for number in map(str, numbers if isinstance(numbers, list) else [numbers]):
            version = (found or {"versions": {}})["versions"].get(number)
            if not version or version["destroyed"]:
                continue
            if kind == "destroy":
                version["destroyed"] = True
                gone.append(self.version_key(name, number))
            elif kind == "undelete":
                version["deletion_time"] = ""
            elif not version["deletion_time"]:
                version["deletion_time"] = timestamp()
        if found:
            self.consul.write({f"{self.folder}metadata/{name}": found}, gone)
        return Reply()
