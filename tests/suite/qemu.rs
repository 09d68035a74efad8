//! The QEMU builder without machines: command lines, keys, and bases that are refused.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha512};
use vault_bake::builder::qemu::machine::accelerator;
use vault_bake::builder::qemu::machine::arguments::{Accelerator, Arguments, Uefi};
use vault_bake::builder::qemu::{Qemu, QemuSettings, access, requirements};
use vault_bake::builder::{Builder as _, BuilderError};
use vault_bake::definition::{Firmware, MachineSpec, Network, QemuBase};
use vault_bake::digest::{Digest, hex};
use vault_bake::event::Events;
use vault_bake::lock::{LockedBase, PackageIndex};
use vault_bake::plan::PlannedBase;
use vault_bake::secret::Secret;
use vault_bake::ssh::Keys;
use vault_bake::teardown::Teardown;
use vault_bake::wait::Interrupt;

fn spec(network: Network) -> MachineSpec {
    MachineSpec {
        cpus: 2,
        memory_mib: 1024,
        disk_gib: 8,
        network,
        boot_timeout_s: 300,
    }
}

fn keys() -> Keys {
    Keys {
        host_private: Secret::new("HOST-PRIVATE-CANARY\n"),
        host_public: "ssh-ed25519 AAAAhost".into(),
        user_private: Secret::new("USER-PRIVATE-CANARY\n"),
        user_public: "ssh-ed25519 AAAAuser".into(),
    }
}

fn arguments(spec: &MachineSpec, accelerator: Accelerator) -> Arguments<'_> {
    Arguments {
        marker: "guest=vault-bake-run1-build",
        spec,
        accelerator,
        overlay: Path::new("overlay-build.qcow2"),
        uefi: None,
        credential: None,
        cloud_seed: None,
        identity: None,
        serial: Path::new("serial-build.log"),
        control: Path::new("build.qmp"),
    }
}

/// One line an option.
fn shown(list: &[String]) -> String {
    list.join(" ").replace(" -", "\n-")
}

#[test]
fn command_line_of_a_machine_that_starts_by_bios_with_credentials() {
    let spec = spec(Network::Outbound);
    let mut arguments = arguments(&spec, Accelerator::Tcg);
    arguments.credential = Some(Path::new("credential-build"));
    insta::assert_snapshot!(shown(&arguments.list()), @r#"
    -name guest=vault-bake-run1-build
    -nodefaults
    -no-user-config
    -machine q35,graphics=off
    -accel tcg,thread=multi,tb-size=512
    -cpu max
    -smp 2
    -m 1024
    -display none
    -vga none
    -serial file:serial-build.log
    -qmp unix:build.qmp,server=on,wait=off
    -device virtio-rng-pci
    -device pvpanic
    -drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=overlay-build.qcow2
    -device virtio-blk-pci,drive=disk,bootindex=0
    -netdev user,id=net,ipv6=off,restrict=off,hostfwd=tcp:127.0.0.1:0-:22
    -device virtio-net-pci,netdev=net,romfile=
    -smbios type=11,path=credential-build
    "#);
}

#[test]
fn command_line_of_a_machine_that_starts_by_uefi_with_seeds_and_no_network() {
    let spec = spec(Network::None);
    let mut arguments = arguments(&spec, Accelerator::Kvm);
    let uefi = Uefi {
        code: "/firm,ware/CODE.fd".into(),
        vars: "vars-test.fd".into(),
    };
    arguments.uefi = Some(&uefi);
    arguments.cloud_seed = Some(Path::new("cloud-test.raw"));
    arguments.identity = Some(Path::new("identity-test.raw"));
    insta::assert_snapshot!(shown(&arguments.list()), @r#"
    -name guest=vault-bake-run1-build
    -nodefaults
    -no-user-config
    -machine q35,graphics=off
    -accel kvm
    -cpu host
    -smp 2
    -m 1024
    -display none
    -vga none
    -serial file:serial-build.log
    -qmp unix:build.qmp,server=on,wait=off
    -device virtio-rng-pci
    -device pvpanic
    -drive if=pflash,unit=0,format=raw,readonly=on,file=/firm,,ware/CODE.fd
    -drive if=pflash,unit=1,format=raw,readonly=off,file=vars-test.fd
    -drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=overlay-build.qcow2
    -device virtio-blk-pci,drive=disk,bootindex=0
    -drive if=none,id=cloud,format=raw,readonly=on,file=cloud-test.raw
    -device virtio-blk-pci,drive=cloud,serial=vault-bake-cloud
    -drive if=none,id=seed,format=raw,readonly=on,file=identity-test.raw
    -device virtio-blk-pci,drive=seed,serial=vault-bake-seed
    -netdev user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:0-:22
    -device virtio-net-pci,netdev=net,romfile=
    "#);
}

#[test]
fn credential_makes_the_three_files() {
    let credential = access::credential(&keys());
    let value = credential
        .expose()
        .strip_prefix("io.systemd.credential.binary:tmpfiles.extra=")
        .expect("a credential");
    let lines = decoded(value);
    let shown: Vec<String> = lines
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((start, "-")) => format!("{start} -"),
            Some((start, content)) => format!("{start} <{}>", decoded(content)),
            None => line.to_owned(),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    d /run/vault-bake 0700 root root -
    f+~ /run/vault-bake/host_key 0600 root root - <HOST-PRIVATE-CANARY
    >
    f+~ /run/vault-bake/authorized_keys 0600 root root - <ssh-ed25519 AAAAuser
    >
    f+~ /etc/ssh/sshd_config.d/00-vault-bake.conf 0644 root root - <HostKey /run/vault-bake/host_key
    AuthorizedKeysFile /run/vault-bake/authorized_keys
    PermitRootLogin prohibit-password
    >
    "#);
}

#[test]
fn cloud_init_user_data_makes_the_three_files_and_no_user() {
    let text = access::user_data(&keys());
    let json = text
        .expose()
        .strip_prefix("#cloud-config\n")
        .expect("a head line");
    let mut data: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for file in data["write_files"].as_array_mut().expect("files") {
        file["content"] = decoded(file["content"].as_str().expect("text")).into();
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&data).expect("JSON"), @r#"
    {
      "disable_root": false,
      "no_ssh_fingerprints": true,
      "package_update": false,
      "package_upgrade": false,
      "ssh_deletekeys": true,
      "ssh_genkeytypes": [],
      "ssh_pwauth": false,
      "ssh_quiet_keygen": true,
      "users": [],
      "write_files": [
        {
          "content": "HOST-PRIVATE-CANARY\n",
          "encoding": "b64",
          "owner": "root:root",
          "path": "/run/vault-bake/host_key",
          "permissions": "0600"
        },
        {
          "content": "ssh-ed25519 AAAAuser\n",
          "encoding": "b64",
          "owner": "root:root",
          "path": "/run/vault-bake/authorized_keys",
          "permissions": "0600"
        },
        {
          "content": "HostKey /run/vault-bake/host_key\nAuthorizedKeysFile /run/vault-bake/authorized_keys\nPermitRootLogin prohibit-password\n",
          "encoding": "b64",
          "owner": "root:root",
          "path": "/etc/ssh/sshd_config.d/00-vault-bake.conf",
          "permissions": "0644"
        }
      ]
    }
    "#);
    insta::assert_snapshot!(access::meta_data("run1-build"), @r#"{"instance-id":"run1-build","local-hostname":"localhost"}"#);
}

fn decoded(base64: &str) -> String {
    String::from_utf8(openssl::base64::decode_block(base64).expect("base64")).expect("text")
}

#[test]
fn kvm_is_used_only_where_a_processor_virtualizes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (device, processors) = (folder.path().join("kvm"), folder.path().join("cpuinfo"));
    for (has_device, flags, expected) in [
        (true, "flags\t\t: fpu vmx sse", Accelerator::Kvm),
        (true, "flags\t\t: fpu svm sse", Accelerator::Kvm),
        (true, "flags\t\t: fpu sse", Accelerator::Tcg),
        (true, "bugs\t\t: vmx", Accelerator::Tcg),
        (false, "flags\t\t: fpu vmx sse", Accelerator::Tcg),
    ] {
        let _ = std::fs::remove_file(&device);
        if has_device {
            std::fs::write(&device, "").expect("a device");
        }
        std::fs::write(&processors, flags).expect("processors");
        assert_eq!(
            accelerator::choose(&device, &processors),
            expected,
            "{has_device} {flags}"
        );
    }
}

#[test]
fn requirements_name_packages() {
    let lines: Vec<String> = requirements(&QemuSettings::new("cache"))
        .iter()
        // Needed by users other than root only.
        .filter(|one| one.package != "uidmap")
        .map(|one| format!("{} ({}): {}", one.program.display(), one.package, one.why))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    qemu-system-x86_64 (qemu-system-x86): runs the temporary machines
    qemu-img (qemu-utils): makes, converts and checks disks
    mmdebstrap (mmdebstrap): makes native bases from signed packages
    fakeroot (fakeroot): makes native bases without privileges
    /usr/sbin/mke2fs (e2fsprogs): makes the root file system of native bases
    /usr/sbin/sgdisk (gdisk): partitions native bases
    mformat (mtools): makes the system partition of native bases, and seeds for cloud-init
    mmd (mtools): makes the system partition of native bases
    mcopy (mtools): makes the system partition of native bases, and seeds for cloud-init
    grub-mkimage (grub-common): makes native bases bootable
    /usr/lib/grub/i386-pc/boot.img (grub-pc-bin): lets native bases boot by BIOS
    /usr/lib/grub/x86_64-efi/linux.mod (grub-efi-amd64-bin): lets native bases boot by UEFI
    /usr/share/OVMF/OVMF_CODE_4M.fd (ovmf): starts machines by UEFI
    "#);
}

/// A builder and a run in a folder of their own.
struct World {
    folder: tempfile::TempDir,
    qemu: Qemu,
    teardown: Teardown,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            qemu: Qemu::new(QemuSettings::new(folder.path().join("cache"))),
            teardown: Teardown::begin(&folder.path().join("runs"), "run1").expect("a journal"),
            folder,
        }
    }

    async fn refusal(&mut self, wanted: QemuBase, locked: LockedBase) -> BuilderError {
        let base = PlannedBase { wanted, locked };
        self.qemu
            .base(
                &base,
                &mut self.teardown,
                &Events::silent(),
                &Interrupt::default(),
            )
            .await
            .expect_err("it is refused")
    }
}

fn packages(mirror: &str, extra: &[&str]) -> QemuBase {
    QemuBase::Packages {
        mirror: mirror.into(),
        suite: "bookworm".into(),
        extra: extra.iter().map(ToString::to_string).collect(),
        packages: Vec::new(),
        firmware: Firmware::Bios,
    }
}

fn index(mirror: &str, content: &str) -> PackageIndex {
    PackageIndex {
        mirror: mirror.into(),
        suite: "bookworm".into(),
        date: "2026-11-20T00:00:00Z".into(),
        sha256: Digest::of(content),
    }
}

#[tokio::test]
async fn a_mirror_that_moved_on_is_refused_with_both_dates_and_the_way_out() {
    let mut world = World::new();
    let suite = world.folder.path().join("mirror/dists/bookworm");
    std::fs::create_dir_all(&suite).expect("a mirror");
    std::fs::write(
        suite.join("InRelease"),
        "Date: Sat, 21 Nov 2026 00:00:00 UTC\n",
    )
    .expect("an index");
    let mirror = format!("file://{}", world.folder.path().join("mirror").display());
    let locked = LockedBase::Packages {
        index: vec![index(&mirror, "the one of yesterday")],
    };
    let error = world
        .refusal(packages(&mirror, &[]), locked)
        .await
        .to_string();
    insta::with_settings!({filters => vec![("file://.*?mirror", "[mirror]")]}, {
        insta::assert_snapshot!(error, @"suite bookworm of [mirror] has changed: locked was the index of 2026-11-20T00:00:00Z (sha256:36cf96129dee752ff5bfffb8e4ef5fa7fbc7d706c55c2dd6115d237ec8a6c7e1), found was the one of Sat, 21 Nov 2026 00:00:00 UTC (sha256:0ee5e0128cd43ab9fbc05bfc88d5a2685eedee2b19313ab3b1d0322c39294eff); run `vault-bake lock` again, or name a snapshot mirror that keeps the locked state");
    });
}

#[tokio::test]
async fn a_lock_that_does_not_fit_the_definition_is_refused() {
    let (one, other) = ("http://one", "http://other");
    let image = LockedBase::CloudImage {
        url: "https://x".into(),
        sha512: "0".repeat(128),
    };
    let of = |index: Vec<PackageIndex>| LockedBase::Packages { index };
    for (wanted, locked) in [
        (packages(one, &[]), image),
        (packages(one, &[]), of(vec![])),
        (packages(one, &[]), of(vec![index(other, "")])),
        (
            packages(one, &["http://other bookworm"]),
            of(vec![index(one, "")]),
        ),
        (
            packages(one, &["http://other"]),
            of(vec![index(one, ""), index(other, "")]),
        ),
        (
            packages(one, &[]),
            of(vec![index(one, ""), index(other, "")]),
        ),
    ] {
        let error = World::new().refusal(wanted, locked).await;
        assert!(matches!(error, BuilderError::LockOfAnotherBase), "{error}");
    }
}

#[tokio::test]
async fn a_cloud_image_with_another_digest_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    let path: PathBuf = world.folder.path().join("image.raw");
    std::fs::write(&path, "not what was locked").expect("an image");
    let sha512 = hex(&Sha512::digest("what was locked"));
    let url = path.display().to_string();
    let wanted = QemuBase::CloudImage {
        url: url.clone(),
        sha512: sha512.clone(),
        firmware: Firmware::Bios,
    };
    let error = world
        .refusal(wanted, LockedBase::CloudImage { url, sha512 })
        .await;
    assert!(matches!(error, BuilderError::WrongDigest { .. }), "{error}");
    let leaks = world
        .teardown
        .finish(&Events::silent(), &Interrupt::default())
        .await;
    assert_eq!(leaks, []);
    let left: Vec<_> = std::fs::read_dir(world.folder.path().join("cache/images"))
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_some_and(|end| end == "lock")),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_digest_of_another_length_is_refused_unseen() {
    let mut world = World::new();
    let wanted = QemuBase::CloudImage {
        url: "/nowhere".into(),
        sha512: "abc".into(),
        firmware: Firmware::Bios,
    };
    let locked = LockedBase::CloudImage {
        url: "/nowhere".into(),
        sha512: "abc".into(),
    };
    insta::assert_snapshot!(world.refusal(wanted, locked).await, @"/nowhere: its locked SHA-512 `abc` is not 128 hex digits");
}
