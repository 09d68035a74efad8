//! Writes JSON plainly where that is canonical (RFC 8785), and refuses where it might not be.
//!
//! Without floats and with sorted ASCII keys the plain form is the canonical one.

use std::io::{self, Write};

use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use super::{MAX_DEPTH, MAX_INTEGER};

/// Few keys are longer, in bytes.
const KEY: usize = 32;

/// What has been written so far, as much as matters.
#[derive(Default)]
pub(super) struct Plain {
    /// How many arrays and objects are around.
    depth: usize,
    /// How many objects are around.
    objects: usize,
    /// The last key of each of them; behind those, space that was used once.
    last: Vec<String>,
    /// The key that is being written, and whether it is its object's first.
    key: Option<(String, bool)>,
    /// Space for the next one.
    spare: String,
}

fn held(rule: bool) -> io::Result<()> {
    rule.then_some(())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Plain {
    fn deeper(&mut self) -> io::Result<()> {
        self.depth += 1;
        held(self.depth <= MAX_DEPTH)
    }
}

impl Formatter for Plain {
    fn write_null<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        held(false)
    }

    fn write_f32<W: ?Sized + Write>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        held(false)
    }

    fn write_f64<W: ?Sized + Write>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        held(false)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        held(value <= MAX_INTEGER)?;
        CompactFormatter.write_u64(writer, value)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        held(value.unsigned_abs() <= MAX_INTEGER)?;
        CompactFormatter.write_i64(writer, value)
    }

    fn write_u128<W: ?Sized + Write>(&mut self, _: &mut W, _: u128) -> io::Result<()> {
        held(false)
    }

    fn write_i128<W: ?Sized + Write>(&mut self, _: &mut W, _: i128) -> io::Result<()> {
        held(false)
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
            self.last.push(String::with_capacity(KEY));
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
            return held(false);
        };
        let last = &mut self.last[self.objects - 1];
        held(key.is_ascii() && (first || *last < key))?;
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
        held(self.key.is_none())?;
        CompactFormatter.write_char_escape(writer, escape)
    }
}
