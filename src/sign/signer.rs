//! Signs with a key in memory, or with an external program.

use super::SignError;
use super::envelope::{Envelope, Signature, pre_authentication_encoding};
use super::key::{PublicKey, SigningKey};
use crate::process::Program;
use crate::wait::Interrupt;

/// A source of signatures.
pub enum Signer {
    /// A key in memory.
    Key(SigningKey),
    /// A program that reads the bytes on standard input and writes the signature to standard
    /// output. For ed25519 that is 64 bytes; for P-256 a DER sequence, or 64 bytes as from Azure
    /// Key Vault. It makes keys in hardware and in services usable.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// The public half of its key.
        public: PublicKey,
    },
}

impl Signer {
    /// Returns the public half of the key.
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Command { public, .. } => public,
        }
    }

    async fn sign(&self, bytes: &[u8], interrupt: &Interrupt) -> Result<Signature, SignError> {
        let signature = match self {
            Self::Key(key) => key.sign(bytes)?,
            Self::Command { command, .. } => run_signer(command, bytes, interrupt).await?,
        };
        let public = self.public();
        let signature = public.stored_form(signature);
        if let (Self::Command { command, .. }, false) = (self, public.verifies(bytes, &signature)) {
            return Err(SignError::InvalidOutput {
                program: command.first().cloned().unwrap_or_default(),
                why: format!(
                    "its output ({} bytes) is not an {} signature by the key {}",
                    signature.len(),
                    public.algorithm(),
                    public.id()
                ),
            });
        }
        Ok(Signature {
            key: public.id(),
            bytes: signature,
        })
    }
}

async fn run_signer(
    command: &[String],
    bytes: &[u8],
    interrupt: &Interrupt,
) -> Result<Vec<u8>, SignError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(SignError::InvalidOutput {
            program: String::new(),
            why: "the command is empty".to_owned(),
        });
    };
    let program = Program::new(program).args(arguments).input(bytes);
    Ok(program.run(interrupt).await?)
}

/// Signs `payload` with all of `signers`.
pub async fn sign(
    payload_type: &str,
    payload: Vec<u8>,
    signers: &[Signer],
    interrupt: &Interrupt,
) -> Result<Envelope, SignError> {
    let bytes = pre_authentication_encoding(payload_type, &payload);
    let mut signatures = Vec::new();
    for signer in signers {
        signatures.push(signer.sign(&bytes, interrupt).await?);
    }
    if signatures.is_empty() {
        return Err(SignError::Shape {
            what: "envelope",
            why: "there is no signer".to_owned(),
        });
    }
    Ok(Envelope {
        payload_type: payload_type.to_owned(),
        payload,
        signatures,
    })
}
