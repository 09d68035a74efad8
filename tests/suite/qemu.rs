//! The QEMU builder without VMs: command lines, keys, and refused bases.

mod documented;
mod fake;
mod layers;
mod nodes;
mod refusals;
mod starts;

use std::path::Path;

use vault_bake::builder::Kernel;
use vault_bake::builder::access::{self, Purpose};
use vault_bake::platform::qemu::machine::accelerator::{Accelerator, choose};
use vault_bake::platform::qemu::machine::arguments::{Arguments, Uefi};
use vault_bake::platform::qemu::machine::emulation::{FIXED_ADDRESSES, processor};
use vault_bake::platform::qemu::{MachineSpec, Network, QemuOptions, requirements};
use vault_bake::secret::Secret;
use vault_bake::ssh::Keys;

/// The purpose of an emulated build VM.
const EMULATED: Purpose = Purpose::Build {
    lines: FIXED_ADDRESSES,
};

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
        kernel: None,
        credential: None,
        cloud_seed: None,
        upload: None,
        identity: None,
        serial: Path::new("serial-build.log"),
        control: Path::new("build.qmp"),
        keys: None,
        memory: None,
        node: None,
    }
}

/// Formats one option per line.
fn list_lines(list: &[String]) -> String {
    list.join(" ").replace(" -", "\n-")
}

#[test]
fn a_kernel_next_to_its_disk_is_started_directly() {
    let spec = spec(Network::None);
    let kernel = Kernel {
        image: "/bases/a,b/vmlinuz".into(),
        initrd: "/bases/a,b/initrd.img".into(),
        arguments: "root=UUID=1 ro console=tty0 console=ttyS0,115200".into(),
    };
    let mut arguments = arguments(&spec, Accelerator::Tcg);
    arguments.kernel = Some(&kernel);
    let list = arguments.list();
    let option = |name: &str| {
        let at = list.iter().position(|one| one == name)?;
        Some(list[at + 1].as_str())
    };
    assert_eq!(option("-kernel"), Some("/bases/a,b/vmlinuz"));
    assert_eq!(option("-initrd"), Some("/bases/a,b/initrd.img"));
    assert!(
        !list.iter().any(|one| one.contains("bootindex")),
        "two are the first"
    );
    assert_eq!(option("-append"), Some(kernel.arguments.as_str()));
}

#[test]
fn a_machine_that_resumes_gets_memory_and_keys_by_sockets() {
    let spec = spec(Network::None);
    let mut arguments = arguments(&spec, Accelerator::Tcg);
    let booted = arguments.list();
    arguments.keys = Some(Path::new("build.keys"));
    arguments.memory = Some(Path::new("build.memory"));
    let list = arguments.list();
    assert_eq!(list[..booted.len()], booted);
    insta::assert_snapshot!(list_lines(&list[booted.len()..]), @"
    -device virtio-serial-pci
    -chardev socket,id=keys,path=build.keys,server=on,wait=off
    -device virtserialport,chardev=keys,name=vault-bake-keys
    -incoming unix:build.memory
    ");
}

#[test]
fn command_line_of_a_machine_that_starts_by_bios_with_credentials() {
    let spec = spec(Network::Outbound);
    let mut arguments = arguments(&spec, Accelerator::Tcg);
    arguments.credential = Some(Path::new("credential-build"));
    insta::assert_snapshot!(list_lines(&arguments.list()), @r#"
    -name guest=vault-bake-run1-build
    -nodefaults
    -no-user-config
    -machine q35,graphics=off
    -accel tcg,thread=multi,tb-size=512
    -cpu max,erms=off,fsrm=off,la57=off
    -smp 2
    -m 1024
    -display none
    -vga none
    -serial file:serial-build.log
    -qmp unix:build.qmp,server=on,wait=off
    -device virtio-rng-pci
    -device pvpanic
    -drive if=none,id=disk,node-name=disk-0,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=overlay-build.qcow2
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
    insta::assert_snapshot!(list_lines(&arguments.list()), @r#"
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
    -drive if=none,id=disk,node-name=disk-0,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=overlay-build.qcow2
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
    let credential = access::credential(&keys(), EMULATED);
    let value = credential
        .expose()
        .strip_prefix("io.systemd.credential.binary:tmpfiles.extra=")
        .expect("a credential");
    let lines = decoded(value);
    let printed: Vec<String> = lines
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((start, content)) if line.starts_with("f+~") => {
                format!("{start} <{}>", decoded(content))
            }
            _ => line.to_owned(),
        })
        .collect();
    insta::assert_snapshot!(printed.join("\n"), @r#"
    d /run/vault-bake 0700 root root -
    f+ /run/vault-bake/building 0644 root root -
    w /proc/sys/kernel/randomize_va_space - - - - 0
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
fn addresses_are_at_random_but_where_an_emulated_machine_makes_an_image() {
    let fixed = |purpose| {
        let credential = access::credential(&keys(), purpose);
        let (_, value) = credential.expose().split_once('=').expect("a credential");
        decoded(value).contains("randomize_va_space")
    };
    assert!(fixed(EMULATED));
    assert!(!fixed(Purpose::Build { lines: "" }));
    assert!(!fixed(Purpose::BootTest));
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
      "locale": false,
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
            choose(&device, &processors),
            expected,
            "{has_device} {flags}"
        );
    }
}

#[test]
fn old_versions_of_qemu_emulate_in_one_thread() {
    let table = [
        (
            "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)",
            false,
        ),
        ("QEMU emulator version 8.0.4", false),
        ("QEMU emulator version 8.1.0", true),
        (
            "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c)",
            true,
        ),
        ("QEMU emulator version unknown", false),
        ("", false),
    ];
    for (printed, expected) in table {
        assert_eq!(processor::may_use_threads(printed), expected, "{printed}");
    }
}

#[test]
fn requirements_name_packages() {
    let lines: Vec<String> = requirements(&QemuOptions::new("cache"))
        .iter()
        // Required only for users other than root.
        .filter(|one| !matches!(one.package, "uidmap" | "fakeroot"))
        .map(|one| format!("{} ({}): {}", one.program.display(), one.package, one.why))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    qemu-system-x86_64 (qemu-system-x86): runs the temporary VMs
    qemu-img (qemu-utils): makes, converts and checks disks
    mmdebstrap (mmdebstrap): makes bases from signed packages
    gpgv (gpgv): verifies the signatures of a distribution's packages
    unshare (util-linux): ends all processes that making a base started
    /usr/sbin/mke2fs (e2fsprogs): makes root file systems of bases, and upload disks
    /usr/sbin/sgdisk (gdisk): partitions bases
    mformat (mtools): makes FAT file systems of bases and cloud-init seeds
    mmd (mtools): makes folders in FAT file systems
    mcopy (mtools): copies files into FAT file systems
    grub-mkimage (grub-common): makes bases bootable
    /usr/lib/grub/i386-pc/boot.img (grub-pc-bin): lets bases boot with BIOS
    /usr/lib/grub/x86_64-efi/linux.mod (grub-efi-amd64-bin): lets bases boot with UEFI
    /usr/share/OVMF/OVMF_CODE_4M.fd (ovmf): boots VMs with UEFI
    "#);
}
