//! Reads the format and size of a disk image file with `qemu-img info`.
//! Refuses an image that refers to other files, because its digest would not cover them.

use std::path::Path;

use serde::Deserialize;

use crate::builder::BuilderError;
use crate::platform::qemu::Tools;
use crate::process::Program;
use crate::wait::Interrupt;

/// The properties of a disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The format: `qcow2` or `raw`.
    pub format: String,
    /// The size of the disk in the image, in bytes.
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

/// Returns the properties of a self-contained image.
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
    let info: Info = serde_json::from_slice(&output).map_err(|error| {
        refuse(format!(
            "cannot parse the output of `qemu-img info`: {error}"
        ))
    })?;
    if let Some(backing) = info.backing_filename {
        return Err(refuse(format!(
            "the image has the backing file `{backing}`; expected one self-contained file"
        )));
    }
    let data_file = info
        .format_specific
        .and_then(|specific| specific.data)
        .and_then(|data| data.data_file);
    if let Some(data) = data_file {
        return Err(refuse(format!(
            "the image has the data file `{data}`; expected one self-contained file"
        )));
    }
    if !matches!(info.format.as_str(), "qcow2" | "raw") {
        return Err(refuse(format!(
            "the image format is {}; expected qcow2 or raw",
            info.format
        )));
    }
    Ok(Facts {
        format: info.format,
        virtual_size_bytes: info.virtual_size,
    })
}
