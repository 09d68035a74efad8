"""Policies in HCL and JSON, and the rights that they give."""

import json
import re

from base import Refused

READ, WRITE = ["read", "list"], ["create", "read", "update", "delete", "list"]
LEVELS = {"deny": ["deny"], "read": READ, "write": WRITE, "sudo": [*WRITE, "sudo"]}
CAPABILITIES = ["create", "delete", "deny", "list", "patch", "read", "sudo", "update"]
# Vault's keys that narrow a rule. To ignore them would permit more than Vault does.
NARROWING = """allowed_parameters control_group denied_parameters max_wrapping_ttl mfa_methods min_wrapping_ttl
    required_parameters""".split()
# The paths that need `sudo` too.
SUDO = re.compile(r"auth/token/(accessors/?|revoke-orphan)|sys/(audit(/.*)?|auth/.*|seal|step-down)")
DEFAULT_POLICY = """# Permits a token to read, renew and revoke itself.
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
"""


class Hcl:
    """Reads the part of HCL that policies use: blocks and assignments of strings, lists, objects and numbers."""

    WORDS = re.compile(
        r"(?P<blank>\s+|(?:#|//)[^\n]*|/\*.*?\*/)|(?P<text>\"(?:[^\"\\\n]|\\.)*\")|(?P<word>[A-Za-z_][\w.-]*)"
        r"|(?P<number>-?\d+)|(?P<sign>[{}\[\]=,])",
        re.DOTALL,
    )

    def __init__(self, text):
        self.words, at = [], 0
        while at < len(text):
            found = self.WORDS.match(text, at)
            if not found:
                raise Refused(f"failed to parse policy: illegal character in line {1 + text.count(chr(10), 0, at)}")
            if found.lastgroup != "blank":
                self.words.append((found.lastgroup, found.group()))
            at = found.end()
        self.words.append(("end", "the end"))
        self.words.reverse()

    def next_is(self, *wanted):
        return any(one in wanted for one in self.words[-1])

    def take(self, *wanted):
        kind, word = self.words[-1]
        if not self.next_is(*wanted):
            raise Refused(f"failed to parse policy: expected {' or '.join(wanted)}, found {word}")
        self.words.pop()
        try:
            return json.loads(word) if kind in ("text", "number") else word
        except ValueError as error:
            raise Refused(f"failed to parse policy: {word}: {error}") from error

    def members(self, end="end"):
        """Returns pairs of keys and a value. A block such as `path "a" {}` has two keys."""
        found = []
        while not self.next_is(end):
            keys = [self.take("word", "text")]
            while self.next_is("text"):
                keys.append(self.take("text"))
            if not self.next_is("{"):
                self.take("=")
            found.append((keys, self.value()))
            if self.next_is(","):
                self.take(",")
        self.take(end)
        return found

    def value(self):
        if self.next_is("{"):
            self.take("{")
            return self.members("}")
        if not self.next_is("["):
            return self.take("text", "number", "true", "false")
        self.take("[")
        found = []
        while not self.next_is("]"):
            found.append(self.value())
            if not self.next_is("]"):
                self.take(",")
        self.take("]")
        return found


def json_members(text):
    """Returns the rules of a policy in JSON, as `Hcl.members` does."""
    try:
        top = json.loads(text)
        paths = top.pop("path", {})
        rules = [pair for block in (paths if isinstance(paths, list) else [paths]) for pair in block.items()]
        found = [(["path", path], [([key], value) for key, value in rule.items()]) for path, rule in rules]
    except (ValueError, TypeError, AttributeError) as error:
        raise Refused(f"failed to parse policy: {error}") from error
    return found + [([key], value) for key, value in top.items()]


def parse_policy(text):
    """Returns pairs of a path and its capabilities."""
    rules = []
    for keys, rule in json_members(text) if text.lstrip().startswith("{") else Hcl(text).members():
        if keys[0] == "name":
            continue
        if keys[0] != "path":
            raise Refused(f'failed to parse policy: invalid key "{keys[0]}"')
        if len(keys) != 2 or not isinstance(rule, list):
            raise Refused('failed to parse policy: expected path "PATH" { capabilities = [...] }')
        where, found = f'failed to parse policy: path "{keys[1]}"', []
        if "+*" in keys[1]:
            raise Refused(f"{where}: invalid use of wildcards ('+*' is forbidden)")
        if "{{" in keys[1]:
            raise Refused(f"{where}: this stub supports no templates")
        for (key, *_), value in rule:
            if key == "capabilities" and isinstance(value, list):
                found += value
            elif key == "policy":
                if value not in LEVELS:
                    raise Refused(f'{where}: invalid policy "{value}"')
                found += LEVELS[value]
            elif key in NARROWING:
                raise Refused(f"{where}: this stub supports no `{key}`")
            elif key != "comment":
                raise Refused(f'{where}: invalid key "{key}"')
        for capability in found:
            if capability not in CAPABILITIES:
                raise Refused(f'{where}: invalid capability "{capability}"')
        rules.append((keys[1].removeprefix("/"), set(found)))
    return rules


class Rule:
    """A path of policies with its capabilities: `+` is a segment, `*` at the end is anything."""

    def __init__(self, path, capabilities):
        self.path, self.capabilities = path, {"deny"} if "deny" in capabilities else capabilities
        plain, is_prefix = path.removesuffix("*"), path.endswith("*")
        segments = plain.split("/")
        wildcards = segments.count("+")
        self.is_exact = not is_prefix and not wildcards
        parts = "/".join("[^/]*" if segment == "+" else re.escape(segment) for segment in segments)
        self.pattern = re.compile(parts + ".*" * is_prefix, re.DOTALL)
        first = path.index("+") if wildcards else len(plain)
        # Vault's order among rules that match.
        self.precedence = (first, not is_prefix, -wildcards, len(plain), plain)

    def reaches(self, mount):
        """Returns whether it grants something below `mount`."""
        if "deny" in self.capabilities or not self.capabilities:
            return False
        plain, is_prefix = self.path.removesuffix("*"), self.path.endswith("*")
        ours, theirs = plain.split("/"), mount.split("/")[:-1]
        for index, (segment, wanted) in enumerate(zip(ours, theirs)):
            is_open = is_prefix and index == len(ours) - 1
            if segment not in ("+", wanted) and not (is_open and wanted.startswith(segment)):
                return False
        return is_prefix or len(ours) >= len(theirs)


class Acl:
    """The rules of all policies of a token."""

    def __init__(self, rules):
        merged = {}
        for path, capabilities in rules:
            merged.setdefault(path, set()).update(capabilities)
        self.rules = [Rule(path, capabilities) for path, capabilities in merged.items()]

    def find(self, path, exact):
        matching = [rule for rule in self.rules if rule.is_exact == exact and rule.pattern.fullmatch(path)]
        return max(matching, key=lambda rule: rule.precedence).capabilities if matching else None

    def capabilities(self, path, is_list=False):
        paths = [path, path.removesuffix("/")] if is_list else [path]
        for exact in (True, False):
            for candidate in paths if exact else paths[::-1]:
                found = self.find(candidate, exact)
                if found is not None:
                    return found
        return set()

    def reaches(self, mount):
        return any(rule.reaches(mount) for rule in self.rules)


class RootAcl:
    """The rights of a token with the policy `root`."""

    @staticmethod
    def capabilities(_path, is_list=False):
        del is_list
        return {"root"}

    @staticmethod
    def reaches(_mount):
        return True
