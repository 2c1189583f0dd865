//! Whether a JPEG file is whole. Decoders fill what is missing with grey and report success.

const START: u8 = 0xD8;
const END: u8 = 0xD9;

/// Whether the marker that ends the picture is missing.
///
/// Walks over the segments: a file may hold more pictures (thumbnails, a second view), whose end
/// markers say nothing about the first one.
pub fn is_truncated(bytes: &[u8]) -> bool {
    let mut at = 0;
    loop {
        // Entropy-coded data has FF only before 00 and restart markers.
        let Some(marker) = next_marker(bytes, &mut at) else {
            return true;
        };
        match marker {
            END => return false,
            // Markers without a length.
            START | 0x01 | 0xD0..=0xD7 => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
                    return true;
                };
                at += usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// The next marker at or after `at`, which is then behind it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let found = bytes.get(*at..)?.iter().position(|byte| *byte == 0xFF)?;
        *at += found + 1;
        while *bytes.get(*at)? == 0xFF {
            *at += 1;
        }
        let marker = bytes[*at];
        *at += 1;
        if marker != 0x00 {
            return Some(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_marker_counts_only_outside_segments() {
        // A segment of 4 bytes with the thumbnail's end in it, a scan with a stuffed byte.
        let whole = [
            0xFF, START, 0xFF, 0xE1, 0, 4, 0xFF, END, 0xFF, 0xDA, 0, 2, 7, 0xFF, 0, 9, 0xFF, 0xD3,
            1, 0xFF, END,
        ];
        assert!(!is_truncated(&whole));
        for length in 0..whole.len() {
            assert!(is_truncated(&whole[..length]), "{length}");
        }
    }
}
