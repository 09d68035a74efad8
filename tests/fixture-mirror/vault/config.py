"""Vault's configuration, checked."""

import json
import os
import re
import socket
import ssl

from base import Refused, duration_s, truthy

TOP_KEYS = """api_addr audit cluster_addr cluster_name default_lease_ttl deny_slash_in_templated_paths disable_cache
    disable_clustering disable_mlock
    enable_response_header_hostname enable_response_header_raft_node_id introspection_endpoint listener log_file
    log_format log_level log_rotate_bytes log_rotate_duration log_rotate_max_files max_lease_ttl pid_file
    plugin_directory raw_storage_endpoint service_registration storage telemetry ui user_lockout""".split()
CONSUL_KEYS = """address check_timeout consistency_mode disable_registration lock_wait_time max_parallel path scheme
    service service_address service_tags session_ttl tls_ca_file tls_cert_file tls_key_file tls_min_version
    tls_skip_verify token""".split()
LISTENER_KEYS = """address agent_api cluster_address custom_response_headers disable_replication_status_endpoints
    disable_unauthed_rekey_endpoints http_idle_timeout http_read_header_timeout http_read_timeout http_write_timeout
    max_request_duration max_request_size profiling proxy_protocol_authorized_addrs proxy_protocol_behavior
    inflight_requests_logging max_json_array_element_count max_json_depth max_json_object_entry_count
    max_json_string_value_length redact_addresses redact_cluster_name redact_version telemetry
    tls_cert_file tls_cipher_suites tls_client_ca_file
    tls_disable tls_disable_client_certs tls_key_file tls_max_version tls_min_version
    tls_require_and_verify_client_cert x_forwarded_for_authorized_addrs x_forwarded_for_hop_skips
    x_forwarded_for_reject_not_authorized x_forwarded_for_reject_not_present""".split()
TLS_VERSIONS = {"tls12": ssl.TLSVersion.TLSv1_2, "tls13": ssl.TLSVersion.TLSv1_3}


def block(config, name, kind):
    """Returns the only `kind` block below `name`, in any form of a JSON configuration."""
    found = config.get(name)
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    found = found.get(kind) if isinstance(found, dict) and list(found) == [kind] else None
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    if not isinstance(found, dict):
        raise Refused(f"configuration: expected exactly one `{name}` block `{kind}`")
    return found


def check_keys(where, values, known, needed):
    unknown = sorted(set(values) - set(known))
    missing = [key for key in needed if not values.get(key)]
    if unknown:
        raise Refused(f"configuration: {where}: unknown key `{unknown[0]}`")
    if missing:
        raise Refused(f"configuration: {where}: `{missing[0]}` is missing")


def expand(text):
    """Evaluates the only address template of the images, as Vault does."""
    if not re.search(r"{{.*}}", text):
        return text
    try:
        # Sends nothing: to connect a datagram socket only reads the routing table.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            own = probe.getsockname()[0]
    except OSError as error:
        raise Refused(f"configuration: `{text}`: this machine has no address yet: {error}") from error
    text = re.sub(r"{{\s*GetPrivateIP\s*}}", own, text)
    if "{{" in text:
        raise Refused(f"configuration: `{text}`: this stub supports only the template GetPrivateIP")
    return text


def host_port(address, what):
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise Refused(f"configuration: {what}: `{address}` is not HOST:PORT")
    return host.strip("[]"), int(port)


class Config:
    """The checked part of Vault's configuration that the stub uses."""

    def __init__(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                config = json.load(file)
        except (OSError, ValueError) as error:
            raise Refused(f"configuration {path}: {error}") from error
        if not isinstance(config, dict):
            raise Refused(f"configuration {path}: expected an object")
        check_keys(path, config, TOP_KEYS, ["storage", "listener", "api_addr", "cluster_addr"])
        self.consul = block(config, "storage", "consul")
        check_keys(
            "storage.consul",
            self.consul,
            CONSUL_KEYS,
            ["address", "scheme", "path", "tls_ca_file", "tls_cert_file", "tls_key_file"],
        )
        if self.consul["scheme"] != "https" or truthy(self.consul.get("tls_skip_verify", False)):
            raise Refused("configuration: storage.consul: only `scheme` https with verification is served")
        self.consul_address = host_port(self.consul["address"], "storage.consul.address")
        self.prefix = self.consul["path"].strip("/") + "/"
        self.session_ttl_s = duration_s(self.consul.get("session_ttl", "15s"))
        self.lock_wait_time_s = duration_s(self.consul.get("lock_wait_time", "15s"))
        self.check_timeout_s = duration_s(self.consul.get("check_timeout", "5s"))
        self.listener = block(config, "listener", "tcp")
        check_keys("listener.tcp", self.listener, LISTENER_KEYS, ["address", "tls_cert_file", "tls_key_file"])
        if truthy(self.listener.get("tls_disable", False)):
            raise Refused("configuration: listener.tcp: `tls_disable` is not served")
        self.address = host_port(expand(self.listener["address"]), "listener.tcp.address")
        next_port = self.address[0], self.address[1] + 1
        named = self.listener.get("cluster_address")
        self.cluster_address = host_port(expand(named), "listener.tcp.cluster_address") if named else next_port
        # Vault lets the environment override both.
        self.api_addr = expand(os.environ.get("VAULT_API_ADDR") or config["api_addr"])
        self.cluster_addr = expand(os.environ.get("VAULT_CLUSTER_ADDR") or config["cluster_addr"])
        for key in ("api_addr", "cluster_addr"):
            if not getattr(self, key).startswith("https://"):
                raise Refused(f"configuration: `{key}` must begin with https://")
        self.cluster_name = config.get("cluster_name")
        self.shows_hostname = truthy(config.get("enable_response_header_hostname", False))

    def tls_version(self, of, default="tls12"):
        name = of.get("tls_min_version", default)
        if name not in TLS_VERSIONS:
            raise Refused(f"configuration: tls_min_version: `{name}` is not one of {', '.join(TLS_VERSIONS)}")
        return TLS_VERSIONS[name]

    def listener_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.tls_version(self.listener)
        if truthy(self.listener.get("tls_require_and_verify_client_cert", False)):
            context.load_verify_locations(self.listener["tls_client_ca_file"])
            context.verify_mode = ssl.CERT_REQUIRED
        self.load_listener_certificate(context)
        return context

    def load_listener_certificate(self, context):
        context.load_cert_chain(self.listener["tls_cert_file"], self.listener["tls_key_file"])

    def consul_tls(self):
        context = ssl.create_default_context(cafile=self.consul["tls_ca_file"])
        # Since version 3.13, Python demands extensions that Vault does not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.minimum_version = self.tls_version(self.consul)
        context.load_cert_chain(self.consul["tls_cert_file"], self.consul["tls_key_file"])
        return context
