"""Tokens: only digests of them are kept."""

import re
import secrets
import time

from base import Refused, Reply, digest, duration_s, timestamp

MAX_TTL_S = 768 * 3600
CREATE_KEYS = "display_name meta no_default_policy no_parent period policies renewable ttl".split()
UNSUPPORTED_KEYS = "entity_alias explicit_max_ttl id lease num_uses".split()


class Tokens:
    """The tokens by the digest of their text."""

    def __init__(self, state):
        self.state = state

    @staticmethod
    def root():
        """Returns the text and the entry of a new root token."""
        entry = {"accessor": secrets.token_urlsafe(18), "policies": ["root"], "parent": "", "display_name": "root"}
        entry |= {"path": "auth/token/root", "meta": None, "created_s": int(time.time()), "issued_s": time.time()}
        entry |= {"ttl_s": 0, "period_s": 0, "renewable": False, "expires_s": None, "renewed_s": None}
        return "hvs." + secrets.token_urlsafe(18), entry

    def find(self, text):
        name = digest(text)
        entry = self.state.get("token", name)
        if entry and entry["expires_s"] and entry["expires_s"] <= time.time():
            self.revoke(name)
            return None
        return entry

    def with_accessor(self, accessor):
        for name, entry in self.state.all("token").items():
            if entry["accessor"] == accessor and not (entry["expires_s"] and entry["expires_s"] <= time.time()):
                return name, entry
        raise Refused("1 error occurred:\n\t* invalid accessor\n\n")

    def policies(self, parent, body, is_sudo):
        """Returns the policies of a new token."""
        wanted = body.get("policies") or []
        wanted = wanted.split(",") if isinstance(wanted, str) else wanted
        wanted = {str(name).strip().lower() for name in wanted} - {""}
        inherits = not body.get("no_default_policy", False)
        if not wanted:
            wanted, inherits = set(parent["policies"]), False
        elif not is_sudo:
            if not wanted <= set(parent["policies"]):
                raise Refused("child policies must be subset of parent")
            inherits = inherits and "default" in parent["policies"]
        if "root" in wanted:
            if "root" not in parent["policies"]:
                raise Refused("root tokens may not be created without parent token being root")
            # As in Vault, `root` swallows the others.
            return ["root"]
        wanted |= {"default"} if inherits else set()
        return sorted(wanted - {"default"} if body.get("no_default_policy", False) else wanted)

    def create(self, request, is_orphan):
        body, parent, warnings = request.body, request.entry, []
        for key in UNSUPPORTED_KEYS:
            if body.get(key):
                raise Refused(f"this stub supports no `{key}`")
        if body.get("type", "service") not in ("service", "default"):
            raise Refused(f"this stub supports no tokens of type `{body['type']}`")
        is_sudo = request.is_sudo()
        policies = self.policies(parent, body, is_sudo)
        if body.get("no_parent", False) and not is_sudo:
            raise Refused("root or sudo privileges required to create orphan token")
        period_s, ttl_s = duration_s(body.get("period") or 0), duration_s(body.get("ttl") or 0)
        if period_s and not is_sudo:
            raise Refused("root or sudo privileges required to create periodic token")
        if period_s:
            ttl_s = period_s
        elif not ttl_s and policies != ["root"]:
            ttl_s = MAX_TTL_S
        elif ttl_s > MAX_TTL_S:
            warnings.append(
                f'TTL of "{body["ttl"]}" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly'
            )
            ttl_s = MAX_TTL_S
        if not ttl_s and parent["ttl_s"]:
            raise Refused("expiring root tokens cannot create non-expiring root tokens")
        is_orphan = is_orphan or body.get("no_parent", False)
        name = re.sub(r"[^a-zA-Z0-9-]", "-", "token-" + str(body.get("display_name", ""))).rstrip("-")
        text, entry = self.root()
        # Vault's texts of tokens with fewer rights are longer.
        text += secrets.token_urlsafe(51) if policies != ["root"] else ""
        entry |= {"policies": policies, "parent": "" if is_orphan else digest(request.token), "display_name": name}
        entry |= {"path": "auth/token/create-orphan" if request.path.endswith("orphan") else "auth/token/create"}
        entry |= {"meta": body.get("meta"), "ttl_s": ttl_s, "period_s": period_s}
        entry |= {"renewable": bool(ttl_s and body.get("renewable", True))}
        entry |= {"expires_s": entry["issued_s"] + ttl_s if ttl_s else None}
        self.state.put("token", digest(text), entry)
        ignored = sorted(set(body) - set(CREATE_KEYS) - set(UNSUPPORTED_KEYS) - {"type"})
        if ignored:
            warnings.append(f"Endpoint ignored these unrecognized parameters: [{' '.join(ignored)}]")
        known = {"root", *self.state.all("policy")}
        warnings += [f'Policy "{policy}" does not exist' for policy in policies if policy not in known]
        return Reply(auth=self.auth(text, entry), warnings=warnings)

    @staticmethod
    def auth(text, entry):
        return {
            "client_token": text,
            "accessor": entry["accessor"],
            "policies": entry["policies"],
            "token_policies": entry["policies"],
            "metadata": entry["meta"],
            "lease_duration": round(entry["expires_s"] - time.time()) if entry["expires_s"] else 0,
            "renewable": entry["renewable"],
            "entity_id": "",
            "token_type": "service",
            "orphan": not entry["parent"],
            "mfa_requirement": None,
            "num_uses": 0,
        }

    @staticmethod
    def describe(text, entry):
        """Returns the answer to a lookup."""
        found = {
            "id": text,
            "accessor": entry["accessor"],
            "creation_time": entry["created_s"],
            "creation_ttl": entry["ttl_s"],
            "display_name": entry["display_name"],
            "entity_id": "",
            "expire_time": timestamp(entry["expires_s"]) if entry["expires_s"] else None,
            "explicit_max_ttl": 0,
            "meta": entry["meta"],
            "num_uses": 0,
            "orphan": not entry["parent"],
            "path": entry["path"],
            "policies": entry["policies"],
            "ttl": int(entry["expires_s"] - time.time()) if entry["expires_s"] else 0,
            "type": "service",
        }
        if entry["period_s"]:
            found["period"] = entry["period_s"]
        if entry["renewed_s"]:
            found |= {"last_renewal": timestamp(entry["renewed_s"]), "last_renewal_time": int(entry["renewed_s"])}
        if entry["expires_s"]:
            found |= {"issue_time": timestamp(entry["issued_s"]), "renewable": entry["renewable"]}
        return found

    def renew(self, text, increment):
        entry = self.find(text)
        if not entry:
            raise Refused("token not found", 403)
        if not entry["expires_s"]:
            raise Refused("invalid lease ID")
        if not entry["renewable"]:
            raise Refused("lease is not renewable")
        now = time.time()
        expires_s = now + (entry["period_s"] or duration_s(increment or 0) or entry["ttl_s"])
        if not entry["period_s"]:
            expires_s = min(expires_s, entry["created_s"] + MAX_TTL_S)
        entry = entry | {"expires_s": expires_s, "renewed_s": now}
        self.state.put("token", digest(text), entry)
        return Reply(auth=self.auth(text, entry))

    def revoke(self, name, with_children=True):
        """Revokes a token, and its children if they are not orphans."""
        entries, revoked, left = self.state.all("token"), [], [name]
        while left:
            revoked.append(left.pop())
            left += [child for child, entry in entries.items() if with_children and entry["parent"] == revoked[-1]]
        # Children first: after a failure, the parent can be revoked again.
        self.state.remove("token", *[name for name in reversed(revoked) if name in entries])
