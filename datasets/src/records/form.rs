//! How the records of a file are put together, by its beginning.

use super::Nesting;

/// Whether the object that `head` begins with has a list of one of these names.
pub(super) fn has_list(head: &[u8], lists: &[&str]) -> bool {
    has_member(head, lists, b"[")
}

/// Whether the object that `head` begins with is one of questions by key.
pub(super) fn has_records(head: &[u8]) -> bool {
    first_member(head).is_some_and(|(_, value)| has_member(value, &["question", "imageId"], b""))
}

/// Whether the object that `head` begins with has lists alone, of texts, by key: captions by image,
/// `{"42": ["a dog", …], …}`. A row with nothing but `captions` names no image.
pub(crate) fn has_texts(head: &[u8]) -> bool {
    let Some((key, value)) = first_member(head) else {
        return false;
    };
    let list = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    let of_texts = list.is_some_and(|list| list.starts_with(b"\""));
    of_texts && ![&b"caption"[..], b"captions"].contains(&key) && has_lists_alone(head)
}

/// Whether the value of every member of the object that `head` begins with is a list.
fn has_lists_alone(head: &[u8]) -> bool {
    let mut nesting = Nesting::default();
    let start = head.len() - head.trim_ascii_start().len();
    for (at, &byte) in head.iter().enumerate().skip(start) {
        if byte == b':' && nesting.depth == 1 && !nesting.in_string {
            let value = head[at + 1..].trim_ascii_start().first();
            if !matches!(value, Some(b'[') | None) {
                return false;
            }
        }
        nesting.follow(byte);
        if nesting.is_outside() {
            break;
        }
    }
    true
}

/// Key and value of the first member of the object that `head` begins with; the value with what follows.
fn first_member(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = head.trim_ascii_start().strip_prefix(b"{")?;
    let key = inner.trim_ascii_start().strip_prefix(b"\"")?;
    let end = key.iter().position(|byte| *byte == b'"')?;
    let value = key[end + 1..].trim_ascii_start().strip_prefix(b":")?;
    Some((&key[..end], value.trim_ascii_start()))
}

/// Whether the object that `head` begins with has a member of one of these names whose value begins
/// with `opening`.
fn has_member(head: &[u8], names: &[&str], opening: &[u8]) -> bool {
    let mut nesting = Nesting::default();
    let begins = |at: usize, name: &&str| {
        let rest = head[at..].strip_prefix(b"\"").unwrap_or_default();
        let rest = rest.strip_prefix(name.as_bytes()).unwrap_or_default();
        let rest = rest.strip_prefix(b"\"").unwrap_or_default();
        let rest = rest.trim_ascii_start().strip_prefix(b":");
        rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(opening))
    };
    let start = head.len() - head.trim_ascii_start().len();
    for (at, &byte) in head.iter().enumerate().skip(start) {
        let at_key = nesting.depth == 1 && !nesting.in_string && byte == b'"';
        if at_key && names.iter().any(|name| begins(at, name)) {
            return true;
        }
        nesting.follow(byte);
        if nesting.is_outside() {
            return false;
        }
    }
    false
}
