//! What people have under the name of a file that they wanted: a pointer to it, a page that says where it is not,
//! an archive that has it.

/// Another kind of file than any that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherFile {
    /// What it is, as part of a sentence: `a web page instead of the file`.
    pub found: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// Bytes at the start of a file by which [`other_file`] knows it.
pub const START_BYTES: usize = 64;

impl OtherFile {
    /// What servers send instead of a file that they refuse.
    pub const PAGE: Self = Self {
        found: "an HTML or XML page, which servers send instead of a file that they refuse",
        fix: "download it again",
    };
}

const PACKED: &str = "unpack it first";

/// What files begin with, what they are, what to do.
const KINDS: [(&[u8], &str, &str); 6] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer instead of the file",
        "fetch the file with git lfs pull",
    ),
    (b"\xfd7zXZ\0", "a file that is compressed by xz", PACKED),
    (
        b"\x28\xb5\x2f\xfd",
        "a file that is compressed by Zstandard",
        PACKED,
    ),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", PACKED),
    (b"Rar!\x1a\x07", "a RAR archive", PACKED),
    (b"%PDF-", "a PDF document", "give the file of the data"),
];

/// What a file is whose first [`START_BYTES`] bytes, or all of them, are `start`, if it is one that nothing here
/// reads: neither text, nor weights, nor arrays.
pub fn other_file(start: &[u8]) -> Option<OtherFile> {
    let kind = KINDS.iter().find(|(magic, ..)| start.starts_with(magic));
    if let Some((_, found, fix)) = kind {
        return Some(OtherFile { found, fix });
    }
    if is_bzip2(start) {
        let found = "a file that is compressed by bzip2";
        return Some(OtherFile { found, fix: PACKED });
    }
    is_page(start).then_some(OtherFile::PAGE)
}

/// A digit for the size of a block, then the first block. The letters alone may begin a text.
fn is_bzip2(start: &[u8]) -> bool {
    let [b'B', b'Z', b'h', b'1'..=b'9', block @ ..] = start else {
        return false;
    };
    block.starts_with(b"1AY&SY")
}

/// A vocabulary may begin with `<unk>`, but not with the tag of a page.
fn is_page(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    let begins = |tag: &[u8]| {
        let own = start.get(..tag.len());
        own.is_some_and(|own| own.eq_ignore_ascii_case(tag))
    };
    [&b"<!doctype html"[..], b"<html", b"<?xml"]
        .into_iter()
        .any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_known_by_their_start() {
        for (start, part) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid"[..],
                "LFS",
            ),
            (b"\n<!DOCTYPE html>\n<html>", "HTML"),
            (b"<HTML><body>404</body>", "HTML"),
            (b"<?xml version=\"1.0\"?><Error>", "XML"),
            (b"\xfd7zXZ\0\0\x04", "xz"),
            (b"\x28\xb5\x2f\xfd\x04", "Zstandard"),
            (b"BZh91AY&SY\x01", "bzip2"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
            (b"Rar!\x1a\x07\x01\0", "RAR"),
            (b"%PDF-1.4", "PDF"),
        ] {
            let found = other_file(start).expect("it is known").found;
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn texts_weights_and_archives_are_not_taken_for_others() {
        for start in [
            &b""[..],
            b"<unk>\n<s>\n",
            b"<html",
            b"version\thttps",
            b"BZh9",
            b"%",
            b"{\"a\": 1}",
            b"PK\x03\x04",
            b"\x1f\x8b\x08",
            b"\x80\x04\x95",
            b"[PAD]\n",
        ] {
            let found = other_file(start);
            assert_eq!(found.is_some(), start == b"<html", "{found:?}");
        }
    }
}
