//! Facts about disk image files, from `qemu-img info`.
//!
//! In: a file. Out: its format and sizes. Deliberately refuses what refers to other files: a base or artifact must
//! be one file, or its digest says nothing.

use std::path::Path;

use serde::Deserialize;

use crate::builder::BuilderError;
use crate::builder::qemu::Tools;
use crate::process::Program;
use crate::wait::Interrupt;

/// What `qemu-img info` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// `qcow2`, `raw` …
    pub format: String,
    /// Of the disk in it, in bytes.
    pub virtual_size_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
    backing_filename: Option<String>,
    format_specific: Option<Specific>,
}

#[derive(Deserialize)]
struct Specific {
    data: Option<SpecificData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SpecificData {
    data_file: Option<String>,
}

/// The facts of a self-contained image; an error where it refers to other files.
pub(super) async fn facts(
    tools: &Tools,
    path: &Path,
    interrupt: &Interrupt,
) -> Result<Facts, BuilderError> {
    let output = Program::new(&tools.qemu_img)
        .args(["info", "--output=json", "--"])
        .arg(path)
        .run(interrupt)
        .await?;
    let refuse = |why: String| BuilderError::Image {
        path: path.to_owned(),
        why,
    };
    let info: Info = serde_json::from_slice(&output)
        .map_err(|error| refuse(format!("`qemu-img info` cannot be understood: {error}")))?;
    if let Some(backing) = info.backing_filename {
        return Err(refuse(format!(
            "it builds on another file, `{backing}`; expected one self-contained file"
        )));
    }
    let data_file = info
        .format_specific
        .and_then(|specific| specific.data)
        .and_then(|data| data.data_file);
    if let Some(data) = data_file {
        return Err(refuse(format!(
            "its data are in another file, `{data}`; expected one self-contained file"
        )));
    }
    if !matches!(info.format.as_str(), "qcow2" | "raw") {
        return Err(refuse(format!(
            "its format is {}; expected qcow2 or raw",
            info.format
        )));
    }
    Ok(Facts {
        format: info.format,
        virtual_size_bytes: info.virtual_size,
    })
}
