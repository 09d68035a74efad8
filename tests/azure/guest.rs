//! Guests for the virtual machines of a simulator: each is a real `sshd` at the machine's own loopback address, with the host
//! key and the user's key that the machine's custom data brings. What a bake does over SSH happens for real.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::simulator::{Machines, Spec};
use crate::support::sshd::{Sshd, own_name};

/// Guests by the id of their machine.
#[derive(Default)]
pub struct Guests(Mutex<HashMap<String, Guest>>);

struct Guest {
    spec: Spec,
    server: Option<Sshd>,
}

impl Guests {
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Guest) -> T) -> Result<T, String> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let guest = guests.get_mut(id);
        guest.map(work).ok_or_else(|| format!("no machine {id}"))
    }
}

impl Machines for Guests {
    fn create(&self, spec: &Spec) -> Result<(), String> {
        let guest = Guest {
            spec: spec.clone(),
            server: None,
        };
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.insert(spec.id.clone(), guest);
        drop(guests);
        self.start(&spec.id)
    }

    fn start(&self, id: &str) -> Result<(), String> {
        self.with(id, |guest| {
            let config = &guest.spec.custom_data;
            let keys = [file(config, "host_key"), file(config, "authorized_keys")];
            guest.server = guest
                .spec
                .ssh
                .map(|at| Sshd::start_with(&keys[0], &keys[1], at));
        })
    }

    fn stop(&self, id: &str) -> Result<(), String> {
        self.with(id, |guest| drop(guest.server.take()))
    }

    fn capture(&self, _id: &str, _image: &str) -> Result<Option<PathBuf>, String> {
        Ok(None)
    }

    fn delete(&self, id: &str) {
        // It may be gone already.
        let _ = self.stop(id);
    }

    fn discard(&self, id: &str) {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.remove(id);
    }

    fn serial_log(&self, id: &str) -> String {
        let log = self.with(id, |guest| guest.server.as_ref().map(Sshd::log));
        log.ok().flatten().unwrap_or_default()
    }

    fn own_user(&self) -> Option<String> {
        Some(own_name())
    }
}

/// The content of the file that cloud-init's configuration has written under this name.
fn file(custom_data: &[u8], name: &str) -> String {
    let text = std::str::from_utf8(custom_data).expect("text");
    let config = text
        .strip_prefix("#cloud-config\n")
        .expect("cloud-init reads what begins so");
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
