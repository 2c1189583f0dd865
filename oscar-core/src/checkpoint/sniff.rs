//! The format of a weight file, by its structure.

use oscar_files::{OtherFile, START_BYTES, other_file};

/// The format of a file.
pub(super) enum Sniffed {
    Safetensors,
    Torch,
    /// Neither: what it is, and what to do.
    Other(OtherFile),
}

/// Longest header of a safetensors file that its readers accept.
const MAX_HEADER: u64 = 100_000_000;

const OTHER_FORM: &str = "get model.safetensors or pytorch_model.bin of the same model";

/// What files begin with that have weights in other forms, what they are, what to do.
const OTHERS: [(&[u8], &str, &str); 3] = [
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as TensorFlow and Keras write",
        OTHER_FORM,
    ),
    (
        b"GGUF",
        "a GGUF file, whose weights are quantised",
        OTHER_FORM,
    ),
    (
        b"\x1f\x8b",
        "a file that is compressed by gzip",
        "unpack it first",
    ),
];

/// The format of a file that consists of `bytes`; none if it is unknown.
///
/// A safetensors file begins with the length of its header, so its first bytes may be those of any
/// other format: its structure is looked at first. No other format has an opening brace behind a
/// number this small.
pub(super) fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    if bytes.is_empty() {
        return Some(other("an empty file", "copy or download it again"));
    }
    let header = bytes
        .first_chunk()
        .map(|length| u64::from_le_bytes(*length));
    if bytes.get(8) == Some(&b'{') && header.is_some_and(|length| length <= MAX_HEADER) {
        return Some(Sniffed::Safetensors);
    }
    if bytes.starts_with(b"PK\x03\x04")
        || bytes.starts_with(b"PK\x05\x06")
        || bytes.starts_with(b"\x80")
    {
        return Some(Sniffed::Torch);
    }
    if let Some(found) = other_file(&bytes[..bytes.len().min(START_BYTES)]) {
        return Some(Sniffed::Other(found));
    }
    let known = OTHERS.iter().find(|(start, ..)| bytes.starts_with(start));
    if let Some((_, found, fix)) = known {
        return Some(other(found, fix));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(other("a tar archive", "unpack it first"));
    }
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Some(Sniffed::Other(OtherFile::PAGE));
    }
    // What is left with a brace there is a safetensors file whose length is damaged.
    (bytes.get(8) == Some(&b'{')).then_some(Sniffed::Safetensors)
}

fn other(found: &'static str, fix: &'static str) -> Sniffed {
    Sniffed::Other(OtherFile { found, fix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safetensors_is_recognised_whatever_the_length_of_its_header() {
        // Lengths whose bytes begin as pages, archives, pickles and pointers do, and all short ones.
        let odd = [
            0x3c20, 0x4b50, 0x4950, 0x0280, 0x0480, 0x6576, 0x0a3c, 0x8b1f, 0x4655,
        ];
        for length in (2..=4096).chain(odd) {
            let mut bytes = u64::to_le_bytes(length).to_vec();
            bytes.extend(b"{}");
            bytes.resize(8 + length as usize, b' ');
            assert!(
                matches!(sniff(&bytes), Some(Sniffed::Safetensors)),
                "{length}"
            );
        }
    }

    #[test]
    fn other_files_are_not_taken_for_safetensors() {
        // A brace at byte 8 alone is not the structure.
        let page = b"<script>{ }</script>";
        assert!(matches!(sniff(page), Some(Sniffed::Other(other)) if other.found.contains("HTML")));
        assert!(matches!(
            sniff(b"\x80\x02}q\0(X\x04{"),
            Some(Sniffed::Torch)
        ));
        assert!(matches!(
            sniff(b"PK\x03\x04\x14\0\0\0{"),
            Some(Sniffed::Torch)
        ));
        let mut tar = vec![0; 512];
        tar[..4].copy_from_slice(b"name");
        tar[257..262].copy_from_slice(b"ustar");
        assert!(matches!(sniff(&tar), Some(Sniffed::Other(other)) if other.found.contains("tar")));
        assert!(sniff(&[0xff; 64]).is_none());
    }
}
