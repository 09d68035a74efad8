//! Virtual machines as real `sshd` servers on loopback.
//!
//! Each uses the host key and the user's key from the VM's custom data, so steps run over real SSH.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Machines, Spec};
use crate::sshd::{Sshd, own_name};

/// The servers by the id of their VM.
#[derive(Default)]
pub struct SshdMachines(Mutex<HashMap<String, SshdMachine>>);

struct SshdMachine {
    spec: Spec,
    server: Option<Sshd>,
}

impl SshdMachines {
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut SshdMachine) -> T) -> Result<T, String> {
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machines.get_mut(id);
        machine.map(work).ok_or_else(|| format!("no machine {id}"))
    }
}

impl Machines for SshdMachines {
    fn create(&self, spec: &Spec) -> Result<(), String> {
        let machine = SshdMachine {
            spec: spec.clone(),
            server: None,
        };
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        machines.insert(spec.id.clone(), machine);
        drop(machines);
        self.start(&spec.id)
    }

    fn start(&self, id: &str) -> Result<(), String> {
        self.with(id, |machine| {
            let config = &machine.spec.custom_data;
            let keys = [file(config, "host_key"), file(config, "authorized_keys")];
            machine.server = machine
                .spec
                .ssh
                .map(|at| Sshd::start_with(&keys[0], &keys[1], at));
        })
    }

    fn stop(&self, id: &str) -> Result<(), String> {
        self.with(id, |machine| drop(machine.server.take()))
    }

    fn capture(&self, _id: &str, _image: &str) -> Result<Option<PathBuf>, String> {
        Ok(None)
    }

    fn delete(&self, id: &str) {
        // The server may have ended already.
        let _ = self.stop(id);
    }

    fn discard(&self, id: &str) {
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        machines.remove(id);
    }

    fn serial_log(&self, id: &str) -> String {
        let log = self.with(id, |machine| machine.server.as_ref().map(Sshd::log));
        log.ok().flatten().unwrap_or_default()
    }

    fn own_user(&self) -> Option<String> {
        Some(own_name())
    }
}

/// Returns the content of a file in the cloud-init configuration.
fn file(custom_data: &[u8], name: &str) -> String {
    let text = std::str::from_utf8(custom_data).expect("text");
    let config = text
        .strip_prefix("#cloud-config\n")
        .expect("cloud-init requires this first line");
    let config: Value = serde_json::from_str(config).expect("JSON is YAML");
    let files = config["write_files"].as_array().expect("files");
    let mut wanted = files.iter().filter(|file| {
        let path = file["path"].as_str().unwrap_or_default();
        path.ends_with(&format!("/{name}"))
    });
    let content = wanted.next().expect("the file")["content"].as_str();
    let bytes = openssl::base64::decode_block(content.expect("text")).expect("base64");
    String::from_utf8(bytes).expect("text")
}
