//! The format of a weight file, by its structure.

/// The format of a file.
pub(super) enum Sniffed {
    Safetensors,
    Torch,
    /// Neither, and why people have such a file.
    Other(&'static str),
}

/// Longest header of a safetensors file that its readers accept.
const MAX_HEADER: u64 = 100_000_000;

/// What other files begin with, and why people have them.
const OTHERS: [(&[u8], &str); 7] = [
    (
        b"version https://git-lfs",
        "it is a Git LFS pointer instead of the file; fetch the file with git lfs pull",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "it is an HDF5 file, as TensorFlow and Keras write; get model.safetensors or \
         pytorch_model.bin of the same model",
    ),
    (
        b"GGUF",
        "it is a GGUF file, whose weights are quantised; get model.safetensors or \
         pytorch_model.bin of the same model",
    ),
    (b"\x1f\x8b", "it is compressed by gzip; decompress it first"),
    (b"\xfd7zXZ\0", "it is compressed by xz; decompress it first"),
    (
        b"\x28\xb5\x2f\xfd",
        "it is compressed by Zstandard; decompress it first",
    ),
    (b"BZh", "it is compressed by bzip2; decompress it first"),
];

/// The format of a file that consists of `bytes`; none if it is unknown.
///
/// A safetensors file begins with the length of its header, so its first bytes may be those of any
/// other format: its structure is looked at first. No other format has an opening brace behind a
/// number this small.
pub(super) fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    if bytes.is_empty() {
        return Some(Sniffed::Other("it is empty"));
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
    if let Some((_, what)) = OTHERS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(Sniffed::Other(what));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(Sniffed::Other("it is a tar archive; extract it first"));
    }
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Some(Sniffed::Other(
            "it is an HTML or XML page, which servers send instead of a file that they refuse; \
             download it again",
        ));
    }
    // What is left with a brace there is a safetensors file whose length is damaged.
    (bytes.get(8) == Some(&b'{')).then_some(Sniffed::Safetensors)
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
        assert!(matches!(sniff(page), Some(Sniffed::Other(what)) if what.contains("HTML")));
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
        assert!(matches!(sniff(&tar), Some(Sniffed::Other(what)) if what.contains("tar")));
        assert!(sniff(&[0xff; 64]).is_none());
    }
}
