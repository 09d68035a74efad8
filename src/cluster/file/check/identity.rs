//! Checks the table `identity`: the certificate authority, and where secrets are.
//! Certificates and keys are not read.

use super::Checker;
use crate::cluster::file::or_table::OrTable;
use crate::cluster::file::raw::{RawAuthority, RawIdentity, RawSecrets};
use crate::cluster::file::{Authority, Identity, Secrets};

impl Checker<'_> {
    pub(super) fn identity(&self, raw: RawIdentity) -> Option<Identity> {
        let authority = self.authority(raw.authority);
        let valid_h = self.number("identity.valid_h", raw.valid_h, &(24..=8760));
        let secrets = self.secrets(raw.secrets);
        Some(Identity {
            authority: authority?,
            valid_h: valid_h?,
            secrets: secrets?,
        })
    }

    fn authority(&self, raw: OrTable<RawAuthority>) -> Option<Authority> {
        let key = "identity.authority";
        let raw = match raw {
            OrTable::Text(text) if text == "generated" => return Some(Authority::Generated),
            OrTable::Text(text) => {
                self.unknown_text(key, &text, "generated", "a table with `certificate`");
                return None;
            }
            OrTable::Table(raw) => raw,
        };
        let certificate = self.file(&format!("{key}.certificate"), &raw.certificate);
        match (raw.key, raw.command) {
            (Some(path), None) => Some(Authority::Files {
                key: self.path(&format!("{key}.key"), &path)?,
                certificate: certificate?,
            }),
            (None, Some(command)) => Some(Authority::Command {
                command: self.command(&format!("{key}.command"), command)?,
                certificate: certificate?,
            }),
            (one, _) => {
                let message = if one.is_some() {
                    "`key` and `command` exclude each other"
                } else {
                    "nothing to sign with; expected `key` or `command`"
                };
                let problem = self.at(key).problem(message).with_hint(
                    "Set `key` to the authority's private key, or `command` to a program that signs.",
                );
                let keys = ["key", "command"].map(|name| format!("{key}.{name}"));
                self.record_conflict(&keys.each_ref().map(String::as_str), problem);
                None
            }
        }
    }

    fn secrets(&self, raw: OrTable<RawSecrets>) -> Option<Secrets> {
        let key = "identity.secrets";
        match raw {
            OrTable::Text(text) if text == "folder" => Some(Secrets::Folder),
            OrTable::Text(text) => {
                self.unknown_text(key, &text, "folder", "a table with `fetch` and `store`");
                None
            }
            OrTable::Table(RawSecrets { fetch, store }) => {
                let fetch = self.command(&format!("{key}.fetch"), fetch);
                let store = self.command(&format!("{key}.store"), store);
                Some(Secrets::Commands {
                    fetch: fetch?,
                    store: store?,
                })
            }
        }
    }

    fn unknown_text(&self, key: &str, given: &str, text: &str, table: &str) {
        let message = format!("`{given}` is not known; expected `{text}`, or {table}");
        let problem = self.at(key).problem(message);
        self.record(problem.with_suggestion(given, [text], "For the default, remove it."));
    }
}
