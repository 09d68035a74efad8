//! Compares versions of Debian packages, `[epoch:]upstream[-revision]`, in the order of dpkg.

use std::cmp::Ordering;

/// Returns whether `a` is older than, equal to, or newer than `b`.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    compare_digits(a.0, b.0)
        .then_with(|| compare_text(a.1, b.1))
        .then_with(|| compare_text(a.2, b.2))
}

/// Returns epoch, upstream version and revision. The epoch defaults to 0; an empty revision equals
/// 0.
fn parts(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
}

/// Compares runs of non-digits and runs of digits in turn.
fn compare_text(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (left, right) = (split(&mut a, false), split(&mut b, false));
        let letters = compare_letters(left, right);
        let (left, right) = (split(&mut a, true), split(&mut b, true));
        let order = letters.then_with(|| compare_digits(left, right));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the leading digits, or non-digits, from `text`.
fn split<'a>(text: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| byte.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    let (front, rest) = text.split_at(end);
    *text = rest;
    front
}

/// `~` sorts before the end, the end before letters, and letters before all other characters.
fn compare_letters(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a.get(at)).cmp(&weight(b.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Compares numbers of any length. No digits count as 0.
fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits[zeros..].to_vec()
    };
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}
