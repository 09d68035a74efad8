#!/usr/bin/env python3
"""Builds the same image in turn with vault-bake, with Packer, and with neither: the floor.

Takes a release build of vault-bake, Packer, and the source of releases from the environment. Prints a table, and writes
`figures.json` and `stages.svg` to the folder in the first argument.

- BENCH_RUNS: runs of each (3).
- BENCH_CASES: the cases (ready,installing).
- BENCH_NEXT_VAULT: the Vault version of a warm build, which uses the layer cache of a cold one. Cold builds use none.

Build VMs resume from a VM snapshot, as from the second build of a base on. The first build, and one that boots, are timed
once. Packer is tuned: no wait for a boot prompt, no VNC, the same VM, an overlay instead of a copy, zstd at the end. Both
run the same scripts with the same environment; the files of both images are compared.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BAKE = ROOT / "target/release/vault-bake"
OUT = Path(sys.argv[1]).resolve()
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
CASES = os.environ.get("BENCH_CASES", "ready,installing").split(",")
NEXT_VAULT = os.environ.get("BENCH_NEXT_VAULT", "")
CACHE = Path(os.environ.get("VAULT_BAKE_CACHE") or OUT / "cache")
MACHINE = ["-machine", "q35,graphics=off", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,erms=off,fsrm=off,la57=off"]
CONVERT = ["qemu-img", "convert", "-O", "qcow2", "-W", "-m", "16", "-c", "-o", "compression_type=zstd"]
PACKAGES = ["jq", "logrotate", "nftables", "openssl", "python3", "systemd-timesyncd"]

# Files that differ between any two builds: ids of runs, caches, and logs of dpkg.
DIFFERS = re.compile(
    r"^/(etc/vault-bake/release\.json|etc/\.updated|var/\.updated|var/log/.*|var/lib/dpkg/.*|var/cache/.*|var/lib/apt/.*"
    r"|var/lib/systemd/.*|etc/ld\.so\.cache|lost\+found|boot/grub/grubenv)$"
)


def definition(case):
    """Returns the quickstart's definition, with its packages in the base or installed in the build VM."""
    text = (ROOT / "images/quickstart/image.toml").read_text()
    if case == "installing":
        listed = json.dumps(PACKAGES)
        text = text.replace(f"packages = {listed}", "packages = []")
        text = text.replace('provisioner = "base"', f'provisioner = "base"\ninputs = {{ packages = {listed} }}', 1)
        text = text.replace('network = "none"', 'network = "outbound"')
        assert "packages = []" in text and "outbound" in text
    return text


class Watched:
    """Runs a program; measures its time, and the peak memory of its processes without QEMU."""

    def __init__(self, arguments, **options):
        began = time.monotonic()
        # Its own session, so that it ends as a whole.
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True, **options)
        self.lines, self.peak_kib, self.running = [], 0, True
        sampler = threading.Thread(target=self.sample)
        sampler.start()
        for line in self.process.stdout:
            self.lines.append((time.monotonic() - began, line.rstrip("\n")))
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.wall = time.monotonic() - began
        self.cpu = usage.ru_utime + usage.ru_stime
        self.running = False
        sampler.join()
        if self.process.returncode != 0:
            sys.exit("\n".join(line for _, line in self.lines[-40:]) + f"\n{arguments[0]} ended with {self.process.returncode}")

    def sample(self):
        while self.running:
            total = 0
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = stat.read_text().rsplit(")", 1)
                    name, rest = fields[0].split("(", 1)[1], fields[1].split()
                    # Field 6 is the session, field 24 the resident pages.
                    if int(rest[3]) == self.process.pid and not name.startswith("qemu"):
                        total += int(rest[21]) * os.sysconf("SC_PAGE_SIZE") // 1024
                except (OSError, IndexError, ValueError):
                    continue
            self.peak_kib = max(self.peak_kib, total)
            time.sleep(0.05)


def bake(case, number, *more):
    """Runs a cold build: every step runs."""
    return timed(case, number, ["--no-cache", *more] + common(case), dict(os.environ))


def warm(case, number):
    """Runs a build with only another Vault version, with the layer cache of the first cold build."""
    env = dict(os.environ, VB_VAR_vault_version=NEXT_VAULT)
    lock = ["--project", str(OUT), "--cache", str(CACHE), "--lock-file", str(OUT / f"{case}-next.lock")]
    subprocess.run([str(BAKE), "lock", case, "--builder", "qemu"] + lock, check=True, stdout=subprocess.DEVNULL, env=env)
    layers = CACHE / "layers"
    shutil.rmtree(layers, ignore_errors=True)
    # Keeps modification times: a newer cache entry would be hashed again.
    shutil.copytree(OUT / f"layers-{case}", layers)
    run, stages, _, store = timed(case, f"{number}-warm", lock, env)
    started = [json.loads(line) for _, line in run.lines if '"step-started"' in line]
    shutil.rmtree(store)
    return run, stages, [event["step"].split("/")[0] for event in started]


def timed(case, name, more, env):
    store = OUT / f"store-{case}-{name}"
    shutil.rmtree(store, ignore_errors=True)
    run = Watched([str(BAKE), "build", case, "--skip-test", "--json", "--store", str(store)] + more, env=env)
    stages = {}
    for _, line in run.lines:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "stage-finished":
            stages[event["stage"]] = event["elapsed_ms"] / 1000
    artifact = next((store / "artifacts/sha256").iterdir())
    return run, stages, artifact, store


def common(case):
    return ["--project", str(OUT), "--cache", str(CACHE), "--lock-file", str(OUT / f"{case}.lock")]


def environment(step, checks, phase):
    """Returns the environment that vault-bake gives a script."""
    values = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive",
        "VB_PHASE": phase, "VB_LIB": "/dev/shm/work/lib.sh", "VB_RELEASES": "/dev/shm/work/releases", "VB_IMAGE": checks["image"], "VB_RUN": "bench",
    }
    for release in checks["releases"]:
        product = release["product"].upper()
        values[f"VB_{product}_VERSION"] = release["version"]
        values[f"VB_{product}_SHA256"] = release["sha256"].removeprefix("sha256:")
    values.update(step["env"])
    quoted = lambda text: "'" + text.replace("'", "'\\''") + "'"
    return " ".join(f"{name}={quoted(value)}" for name, value in values.items())


def payload(case, store):
    """All that vault-bake uploads, as one archive, and the script that does with it what vault-bake does."""
    shown = subprocess.run([str(BAKE), "show", case, "--json", "--store", str(store)], check=True, capture_output=True, text=True)
    inputs = json.loads(shown.stdout)["predicate"]["inputs"]
    find = lambda hex: next(path for path in (store / "objects").rglob(f"*{hex[2:]}*") if path.is_file())
    hex = next(one["digest"] for one in inputs if one["role"] == "checks").removeprefix("sha256:")
    checks = json.loads(find(hex).read_text())
    folder = OUT / f"payload-{case}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    (folder / "work/lib.sh").write_text(checks["lib"])
    for release in (one["digest"].removeprefix("sha256:") for one in inputs if one["role"] == "product"):
        for archive in (CACHE / "releases/sha256" / release).glob("*.gz"):
            to = folder / "work/releases" / archive.stem
            to.mkdir(parents=True)
            shutil.copy(archive, to)
            licences = archive.parent / "licences"
            if licences.is_dir():
                for licence in licences.iterdir():
                    shutil.copy(licence, to)
    script = ["set -eu", "tar -C /dev/shm -xf /dev/shm/payload.tar", "rm /dev/shm/payload.tar"]
    steps = checks["steps"]
    for step in steps:
        for file in step["files"]:
            path = folder / "work/steps" / step["name"] / file["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(file["content"]))
            path.chmod(file["mode"])
    run = lambda step, what: script.append(f"(cd /dev/shm/work/steps/{step['name']} && env -i {environment(step, checks, 'build')} sh ./{what})")
    for step in steps[:-1]:
        run(step, "install.sh")
    for step in steps[:-1]:
        run(step, "check.sh")
    run(steps[-1], "install.sh")
    run(steps[-1], "check.sh")
    script.append("rm -rf /dev/shm/work")
    with tarfile.open(folder / "payload.tar", "w") as tar:
        tar.add(folder / "work", "work")
    (folder / "run.sh").write_text("\n".join(script) + "\n")
    return folder


def credential(folder):
    """An SMBIOS string that lets the key in `folder` in, with the same three files that vault-bake makes."""
    key = folder / "key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    coded = lambda text: base64.b64encode(text.encode()).decode()
    sshd = "HostKey /run/vault-bake/host_key\nAuthorizedKeysFile /run/vault-bake/authorized_keys\nPermitRootLogin prohibit-password\n"
    lines = "d /run/vault-bake 0700 root root -\n" + "".join(
        f"f+~ {path} {mode} root root - {coded(text)}\n"
        for path, mode, text in [
            ("/run/vault-bake/host_key", "0600", key.read_text()),
            ("/run/vault-bake/authorized_keys", "0600", key.with_suffix(".pub").read_text()),
            ("/etc/ssh/sshd_config.d/00-vault-bake.conf", "0644", sshd),
        ]
    )
    path = folder / "credential"
    path.write_text(f"io.systemd.credential.binary:tmpfiles.extra={coded(lines)}")
    return path


def packer(case, folder, base):
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    restrict = ["-netdev", "user,id=user.0,restrict=on,hostfwd=tcp::{{ .SSHHostPort }}-:22"] if case == "ready" else None
    template = {
        "builders": [{
            "type": "qemu", "disk_image": True, "use_backing_file": True, "skip_compaction": True, "qemu_img_args": {"create": ["-F", "qcow2"]},
            "iso_url": str(base), "iso_checksum": "none", "format": "qcow2", "disk_size": "4G", "accelerator": "tcg",
            "headless": True, "disable_vnc": True, "boot_wait": "-1s", "cpus": 2, "memory": 2048, "output_directory": str(output),
            "disk_interface": "virtio", "disk_cache": "unsafe", "disk_discard": "unmap", "disk_detect_zeroes": "unmap", "net_device": "virtio-net",
            "ssh_username": "root", "ssh_private_key_file": str(folder / "key"), "ssh_timeout": "10m", "shutdown_command": "systemctl poweroff",
            "qemuargs": [MACHINE[:2], MACHINE[2:4], MACHINE[4:], ["-display", "none"], ["-vga", "none"],
                         ["-smbios", f"type=11,path={credential(folder)}"], ["-serial", f"file:{folder}/serial"]] + ([restrict] if restrict else []),
        }],
        "provisioners": [
            {"type": "file", "source": str(folder / "payload.tar"), "destination": "/dev/shm/payload.tar"},
            {"type": "shell", "script": str(folder / "run.sh"), "remote_folder": "/dev/shm", "execute_command": "sh {{ .Path }}", "skip_clean": True},
        ],
        "post-processors": [{
            "type": "shell-local", "inline": [" ".join(CONVERT + [f"{output}/packer-qemu", str(folder / "packer.qcow2")])],
        }],
    }
    (folder / "template.json").write_text(json.dumps(template, indent=1))
    (folder / "packer.qcow2").unlink(missing_ok=True)
    env = dict(os.environ, PACKER_CACHE_DIR=str(folder / "packer-cache"), CHECKPOINT_DISABLE="1", PACKER_NO_COLOR="1")
    run = Watched(["packer", "build", "-color=false", str(folder / "template.json")], env=env)
    marks = [("fetch", "Starting VM"), ("boot", "Connected to SSH"), ("upload", "Provisioning with shell script"), ("provision", "Gracefully halting"),
             ("shutdown", "Running post-processor"), ("capture", None)]
    stages, before = {}, 0.0
    for stage, mark in marks:
        at = next((when for when, line in run.lines if mark and mark in line), run.wall)
        stages[stage], before = at - before, at
    return run, stages, folder / "packer.qcow2"


def floor(folder, base):
    """Boots to ssh with a direct kernel start, uploads raw data, powers off and copies: the minimum for any tool."""
    overlay, result = folder / "floor.overlay", folder / "floor.qcow2"
    for path in (overlay, result):
        path.unlink(missing_ok=True)
    began = time.monotonic()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(overlay), "4G"], check=True)
    record = json.loads((base.parent / "base.json").read_text())
    port = free_port()
    machine = ["qemu-system-x86_64", "-nodefaults", "-no-user-config"] + MACHINE + [
        "-smp", "2", "-m", "2048", "-display", "none", "-vga", "none", "-serial", f"file:{folder}/serial", "-device", "virtio-rng-pci",
        "-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file={overlay}", "-device", "virtio-blk-pci,drive=disk",
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-kernel", str(base.parent / "vmlinuz"), "-initrd", str(base.parent / "initrd.img"), "-append", record["kernel"]["arguments"],
        "-smbios", f"type=11,path={credential(folder)}",
    ]
    process = subprocess.Popen(machine)
    ssh = ["ssh", "-q", "-i", str(folder / "key"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes",
           "-o", "ConnectTimeout=2", "-p", str(port), "root@127.0.0.1"]
    try:
        while subprocess.run(ssh + ["true"], stderr=subprocess.DEVNULL).returncode != 0:
            if time.monotonic() - began > 300 or process.poll() is not None:
                sys.exit("cannot connect to the VM of the floor")
            time.sleep(0.1)
        booted = time.monotonic()
        with open(folder / "payload.tar", "rb") as content:
            subprocess.run(ssh + ["cat >/dev/shm/payload.tar"], stdin=content, check=True)
        uploaded = time.monotonic()
        subprocess.run(ssh + ["systemctl poweroff"], check=False)
        process.wait(timeout=120)
        ended = time.monotonic()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    subprocess.run(CONVERT + [str(overlay), str(result)], check=True)
    copied = time.monotonic()
    return {"boot": booted - began, "upload": uploaded - booted, "shutdown": ended - uploaded, "capture": copied - ended}


def free_port():
    import socket
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def tree(image, folder):
    """Returns type or digest of every file in an image's root file system, without mounting it."""
    raw, out = folder / "tree.raw", folder / "tree"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    subprocess.run(["qemu-img", "convert", "-O", "raw", "-W", str(image), str(raw)], check=True)
    table = subprocess.run(["/usr/sbin/sgdisk", "-i", "3", str(raw)], check=True, capture_output=True, text=True).stdout
    offset = int(re.search(r"First sector: (\d+)", table).group(1)) * 512
    subprocess.run(["/usr/sbin/debugfs", "-R", f"rdump / {out}", f"{raw}?offset={offset}"], check=True, capture_output=True)
    files = {}
    for path in out.rglob("*"):
        name = "/" + str(path.relative_to(out))
        if path.is_symlink():
            files[name] = "link to " + os.readlink(path)
        elif path.is_dir():
            files[name] = "folder"
        elif path.is_file():
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    shutil.rmtree(out)
    raw.unlink()
    return files


def compare(ours, theirs, folder):
    ours, theirs = ({name: what for name, what in tree(image, folder).items() if not DIFFERS.match(name)} for image in (ours, theirs))
    only = [sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())]
    other = sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])
    return {"files": len(ours), "only_ours": only[0], "only_packers": only[1], "other_content": other}


def medians(runs):
    names = list(dict.fromkeys(name for one in runs for name in one))
    return {name: statistics.median(one.get(name, 0.0) for one in runs) for name in names}


COLOURS = {"fetch": "#bbbbbb", "base": "#bbbbbb", "boot": "#4477aa", "upload": "#66ccee", "provision": "#228833", "seal": "#ccbb44",
           "shutdown": "#ee6677", "capture": "#aa3377", "record": "#777777", "cleanup": "#777777"}


def chart(bars):
    """Draws a bar for each tool and case, with a colour for each stage."""
    longest = max(sum(stages.values()) for _, stages in bars)
    scale, left, height = 620 / longest, 190, 34
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="840" height="{len(bars) * height + 66}" font-family="sans-serif" font-size="13">']
    for row, (name, stages) in enumerate(bars):
        x, y = left, row * height + 8
        lines.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{name}</text>')
        for stage, seconds in stages.items():
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{seconds * scale:.1f}" height="24" fill="{COLOURS[stage]}"><title>{stage} {seconds:.1f} s</title></rect>')
            x += seconds * scale
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 17}">{sum(stages.values()):.0f} s</text>')
    x, y = left, len(bars) * height + 30
    for stage, colour in COLOURS.items():
        if stage in ("base", "record", "cleanup"):
            continue
        lines.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/><text x="{x + 16}" y="{y + 11}">{stage}</text>')
        x += 84
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def main():
    figures, bars = {"runs": RUNS, "packer": subprocess.run(["packer", "--version"], capture_output=True, text=True).stdout.strip()}, []
    # The first build of each case is timed too.
    shutil.rmtree(CACHE / "suspended", ignore_errors=True)
    for case in CASES:
        image = OUT / "images" / case
        image.mkdir(parents=True, exist_ok=True)
        (image / "image.toml").write_text(definition(case))
        subprocess.run([str(BAKE), "lock", case, "--builder", "qemu"] + common(case), check=True, stdout=subprocess.DEVNULL)
        # Makes the base and the VM snapshot, and downloads the releases for both tools.
        run, stages, artifact, store = bake(case, 0)
        once = {"first": run.wall - stages.get("base", 0.0)}
        shutil.rmtree(OUT / f"layers-{case}", ignore_errors=True)
        shutil.copytree(CACHE / "layers", OUT / f"layers-{case}")
        folder = payload(case, store)
        chain = json.loads(subprocess.run([str(BAKE), "show", case, "--json", "--store", str(store)], check=True, capture_output=True, text=True).stdout)
        digest = chain["predicate"]["base"]["disk_sha256"].removeprefix("sha256:")
        base = next(path for path in CACHE.glob("bases/*/base.json") if digest in path.read_text()).with_name("base.qcow2")
        credential(folder)
        once["booted"] = bake(case, "booted", "--fresh-boot")[0].wall
        if NEXT_VAULT:
            once["first_warm"] = warm(case, 0)[0].wall
        print(f"{case}: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in once.items()), file=sys.stderr)
        ours, theirs, floors, warms = [], [], [], []
        for number in range(1, RUNS + 1):
            floors.append(floor(folder, base))
            run, stages, artifact, store = bake(case, number)
            ours.append((run, stages))
            print(f"{case} {number}: vault-bake {run.wall:.1f} s", file=sys.stderr)
            if NEXT_VAULT:
                run, stages, did = warm(case, number)
                warms.append((run, stages))
                print(f"{case} {number}: vault-bake, warm {run.wall:.1f} s, did {' '.join(did)}", file=sys.stderr)
            run, stages, result = packer(case, folder, base)
            theirs.append((run, stages))
            print(f"{case} {number}: packer {run.wall:.1f} s", file=sys.stderr)
            if number < RUNS:
                shutil.rmtree(store)
        difference = compare(artifact, result, folder)
        shutil.rmtree(folder)
        wall = [statistics.median(run.wall for run, _ in who) for who in (ours, theirs)]
        stages = [medians([stages for _, stages in who]) for who in (ours, theirs)] + [medians(floors)]
        guest = stages[0].get("provision", 0) + stages[0].get("seal", 0)
        least = sum(stages[2].values())
        figures[case] = {
            "wall_s": dict(zip(("vault-bake", "packer"), wall)), "ratio": wall[0] / wall[1],
            "each_s": {name: [round(run.wall, 1) for run, _ in who] for name, who in (("vault-bake", ours), ("packer", theirs))},
            "floor_s": least, "own_overhead_s": wall[0] - guest - least,
            "cpu_s": {name: statistics.median(run.cpu for run, _ in who) for name, who in (("vault-bake", ours), ("packer", theirs))},
            "peak_mib": {name: max(run.peak_kib for run, _ in who) / 1024 for name, who in (("vault-bake", ours), ("packer", theirs))},
            "stages_s": dict(zip(("vault-bake", "packer", "floor"), stages)), "trees": difference, "once_s": once,
        }
        bars += [(f"{who}, {case}", one) for who, one in zip(("vault-bake", "Packer", "floor"), stages)]
        if warms:
            figures[case]["warm"] = {
                "wall_s": statistics.median(run.wall for run, _ in warms), "each_s": [round(run.wall, 1) for run, _ in warms],
                "ratio": statistics.median(run.wall for run, _ in warms) / wall[1], "stages_s": medians([stages for _, stages in warms]),
            }
            bars.insert(-2, (f"vault-bake, {case}, warm", figures[case]["warm"]["stages_s"]))
        # Writes figures after each case, in case the next one fails.
        (OUT / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        (OUT / "stages.svg").write_text(chart(bars))
    report(figures)


def report(figures):
    for case in CASES:
        one = figures[case]
        print(f"\n{case}: packages {'in the base' if case == 'ready' else 'installed in the build VM'}, {figures['runs']} runs each, medians")
        print(f"  {'':<12}{'vault-bake':>12}{'packer ' + figures['packer']:>14}{'floor':>10}")
        names = dict.fromkeys(name for who in one["stages_s"].values() for name in who)
        for name in names:
            cells = [one["stages_s"][who].get(name) for who in ("vault-bake", "packer", "floor")]
            print(f"  {name:<12}" + "".join(f"{'-' if cell is None else f'{cell:.1f}':>{width}}" for cell, width in zip(cells, (12, 14, 10))))
        wall = one["wall_s"]
        print(f"  {'wall':<12}{wall['vault-bake']:>12.1f}{wall['packer']:>14.1f}{one['floor_s']:>10.1f}   ratio {one['ratio']:.2f}")
        print(f"  {'cpu':<12}{one['cpu_s']['vault-bake']:>12.1f}{one['cpu_s']['packer']:>14.1f}")
        print(f"  {'peak MiB':<12}{one['peak_mib']['vault-bake']:>12.0f}{one['peak_mib']['packer']:>14.0f}   QEMU not counted")
        if "warm" in one:
            cells = "  ".join(f"{name} {seconds:.1f}" for name, seconds in one["warm"]["stages_s"].items())
            print(f"  warm, another Vault: {one['warm']['wall_s']:.1f} s ({cells})   ratio {one['warm']['ratio']:.2f}")
        print("  once: " + ", ".join(f"{name.replace('_', ' ')} {seconds:.1f}" for name, seconds in one["once_s"].items()))
        print(f"  above the floor and the scripts: {one['own_overhead_s']:.1f} s")
        trees = one["trees"]
        print(f"  {trees['files']} files; only vault-bake's {trees['only_ours'][:5]}, only packer's {trees['only_packers'][:5]}, other content {trees['other_content'][:5]}")


if __name__ == "__main__":
    main()
