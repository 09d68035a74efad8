//! Writes compact JSON and fails if that may not be canonical (RFC 8785).
//! Compact JSON without floats and with sorted ASCII keys is canonical.

use std::io::{self, Write};

use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use super::{MAX_DEPTH, MAX_INTEGER};

/// Space reserved for a key, in bytes. Few keys are longer.
const KEY_CAPACITY: usize = 32;

/// State of a write: nesting, and the last keys.
#[derive(Default)]
pub(super) struct Plain {
    /// Number of open arrays and objects.
    depth: usize,
    /// Number of open objects.
    objects: usize,
    /// Last key of each open object, followed by buffers to reuse.
    last: Vec<String>,
    /// Key that is being written, and whether it is the first of its object.
    key: Option<(String, bool)>,
    /// Buffer for the next key.
    spare: String,
}

fn require(rule: bool) -> io::Result<()> {
    rule.then_some(())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Plain {
    fn deeper(&mut self) -> io::Result<()> {
        self.depth += 1;
        require(self.depth <= MAX_DEPTH)
    }
}

impl Formatter for Plain {
    fn write_null<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        require(false)
    }

    fn write_f32<W: ?Sized + Write>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        require(false)
    }

    fn write_f64<W: ?Sized + Write>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        require(false)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        require(value <= MAX_INTEGER)?;
        CompactFormatter.write_u64(writer, value)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        require(value.unsigned_abs() <= MAX_INTEGER)?;
        CompactFormatter.write_i64(writer, value)
    }

    fn write_u128<W: ?Sized + Write>(&mut self, _: &mut W, _: u128) -> io::Result<()> {
        require(false)
    }

    fn write_i128<W: ?Sized + Write>(&mut self, _: &mut W, _: i128) -> io::Result<()> {
        require(false)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper()?;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper()?;
        self.objects += 1;
        if self.last.len() < self.objects {
            self.last.push(String::with_capacity(KEY_CAPACITY));
        }
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.objects -= 1;
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.key = Some((std::mem::take(&mut self.spare), first));
        CompactFormatter.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        let Some((key, first)) = self.key.take() else {
            return require(false);
        };
        let last = &mut self.last[self.objects - 1];
        require(key.is_ascii() && (first || *last < key))?;
        self.spare = std::mem::replace(last, key);
        self.spare.clear();
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if let Some((key, _)) = &mut self.key {
            key.push_str(fragment);
        }
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        require(self.key.is_none())?;
        CompactFormatter.write_char_escape(writer, escape)
    }
}
