"""A stub for Vault, for tests of images and rollouts. This is not HashiCorp's Vault and keeps no secret safe.

It reads Vault's configuration, registers in Consul, takes its active role by a session and a lock, and keeps all state
below its path. It serves what the start of a cluster and a client need: initialisation, key shares, audit files, mounts
of `kv`, policies, tokens. Shapes, statuses and the times of a hand-over are those of Vault 1.14.9, tried side by side.
It lacks encryption, leases, identities, plugins, wrapping, and seals other than key shares.
"""

import os
import signal
import socket
import sys
import threading
import time

from base import BANNER, Refused, say
from config import Config
from consul import Registration
from endpoints import Endpoints
from node import Node, RootGeneration
from server import ClusterServer, Handler, Server


def notify(state):
    """Notifies the service manager."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + path[1:] if path.startswith("@") else path)
            channel.send(state.encode())


def reach_storage(consul, awaited):
    """Waits until Consul knows the token: before, Vault does not listen. Returns whether it did."""
    while True:
        try:
            consul.get("core/migration")
            return True
        except Refused as error:
            say(f"storage migration check error: {error}")
        received = signal.sigtimedwait(awaited, 2)
        if received and received.si_signo != signal.SIGHUP:
            say(f"{signal.Signals(received.si_signo).name}: leaving")
            return False


def server(arguments):
    paths = [argument.partition("=")[2] for argument in arguments if argument.lstrip("-").startswith("config=")]
    if len(paths) != 1 or len(arguments) != 1:
        raise Refused("expected `vault server -config=FILE`")
    config = Config(paths[0])
    Handler.node = node = Node(config)
    Handler.endpoints, Handler.generation = Endpoints(node), RootGeneration(node)
    registration = Registration(node)
    say(BANNER)
    awaited = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    if not reach_storage(node.consul, awaited):
        return 0
    listener = Server(config, config.address)
    node.leadership.cluster, node.leadership.registration = ClusterServer(config, node.leadership), registration
    say(f"listening on {config.listener['address']} (TLS), storage consul at {config.consul['address']}")
    registering = threading.Thread(target=registration.run, daemon=True)
    registering.start()
    for target in (listener.serve_forever, node.leadership.cluster.serve_forever):
        threading.Thread(target=target, daemon=True).start()
    notify("READY=1")
    while (received := signal.sigwait(awaited)) == signal.SIGHUP:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            for server in (listener, node.leadership.cluster):
                config.load_listener_certificate(server.tls)
            say("listener certificate loaded again")
            if node.active:
                node.audit.reopen()
        except (OSError, Refused) as error:
            say(f"not loaded again: {error}")
        notify("READY=1")
    say(f"{signal.Signals(received).name}: leaving")
    notify("STOPPING=1")
    # In this order: connections that clients keep open are served until the end, which is that of the process.
    listener.stop()
    node.stopping.set()
    registration.wake.set()
    node.seal_again()
    registering.join(5)
    return 0


def main(arguments):
    if arguments in (["version"], ["-version"], ["--version"], ["-v"]):
        print(BANNER)
        return 0
    try:
        if arguments[:1] == ["server"]:
            # Before any thread starts, so that only `sigwait` gets them.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
            return server(arguments[1:])
        raise Refused("this stub supports `vault version` and `vault server -config=FILE`")
    except (Refused, OSError) as error:
        print(f"{error}\n{BANNER}", file=sys.stderr)
        return 1 if arguments[:1] == ["server"] else 2


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Does not wait for threads that wait for Consul.
    os._exit(code)
