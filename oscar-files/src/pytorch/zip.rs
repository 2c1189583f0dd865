//! The directory of a zip archive of uncompressed members.
//!
//! `torch.save` does not compress members, so a tensor can be used in the memory map. Only the
//! directory at the end of the file is read when an archive is opened; a member's own header is
//! checked when the member is read, since an archive may hold hundreds of thousands of them. The
//! crate `zip` would read all headers at once, and of two members with one name keep the last.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;
const ENTRY_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;

/// Longest comment that may follow the directory.
const MAX_COMMENT: usize = 0xffff;

/// An archive whose directory has been read.
pub(super) struct Archive {
    file: Bytes,
    members: HashMap<Box<str>, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    header: u64,
    size: u64,
    /// Bytes in the archive: fewer than `size` where the member is compressed.
    packed: u64,
    crc: u32,
    /// Why it cannot be read, if it cannot.
    refused: Option<Refusal>,
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Compressed,
    Encrypted,
}

/// An uncompressed member, not yet read.
#[derive(Clone)]
pub(super) struct Member {
    file: Bytes,
    name: Box<str>,
    header: u64,
    size: usize,
    crc: u32,
}

impl Archive {
    /// Reads the directory at the end of `file`; an error says what is wrong with it.
    pub fn open(file: &Bytes) -> Result<Self, String> {
        let directory = directory(file)?;
        let mut members = HashMap::new();
        let mut rest = file.get(directory.bytes.clone()).unwrap_or_default();
        let mut parts: Vec<Range<u64>> = Vec::new();
        for _ in 0..directory.entries {
            let (name, entry, after) = entry(rest)?;
            rest = after;
            let end = entry
                .header
                .checked_add(LOCAL_LENGTH as u64)
                .and_then(|end| end.checked_add(entry.packed))
                .filter(|end| *end <= directory.bytes.start as u64);
            match end {
                Some(end) => parts.push(entry.header..end),
                None if entry.refused.is_some() => {}
                None => return Err(format!("member {name:?} reaches beyond the file")),
            }
            if members.insert(name.into(), entry).is_some() {
                return Err(format!("member {name:?} is there twice"));
            }
        }
        parts.sort_by_key(|part| part.start);
        match parts
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.end > b.start))
        {
            true => Err("members of the archive overlap".into()),
            false => Ok(Self {
                file: file.clone(),
                members,
            }),
        }
    }

    /// Names of all members, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(|name| &**name)
    }

    /// Whether there is a member called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The member called `name`; an error says why it cannot be read.
    pub fn member(&self, name: &str) -> Result<Member, String> {
        let entry = self
            .members
            .get(name)
            .ok_or_else(|| format!("the archive has no member {name:?}"))?;
        match entry.refused {
            Some(Refusal::Encrypted) => return Err(format!("member {name:?} is encrypted")),
            Some(Refusal::Compressed) => {
                return Err(format!(
                    "member {name:?} is compressed, unlike those of PyTorch; extract the archive and \
                     create it again without compression (zip -0)"
                ));
            }
            None => {}
        }
        Ok(Member {
            file: self.file.clone(),
            name: name.into(),
            header: entry.header,
            size: usize::try_from(entry.size).map_err(|_| "it is too large".to_string())?,
            crc: entry.crc,
        })
    }
}

impl Member {
    /// Number of bytes, as the directory says.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Its bytes in the file, after its header and checksum are verified.
    pub fn read(&self) -> Result<Bytes, String> {
        let damaged = |what: &str| format!("member {:?} is damaged: {what}", self.name);
        let start = usize::try_from(self.header).map_err(|_| damaged("its offset"))?;
        let header = self.file.get(start..).unwrap_or_default();
        if !header.starts_with(&LOCAL) {
            return Err(damaged("its header is not where the directory says"));
        }
        let lengths = u16_at(header, 26).zip(u16_at(header, 28));
        let (name, extra) = lengths.ok_or_else(|| damaged("its header is cut short"))?;
        let from = start + LOCAL_LENGTH + usize::from(name) + usize::from(extra);
        let range = from..from.saturating_add(self.size);
        let bytes = match self.file.get(range.clone()) {
            Some(_) => self.file.slice(range),
            None => return Err(damaged("it reaches beyond the file")),
        };
        // With checksums disabled PyTorch writes 0.
        let crc = match self.crc {
            0 => 0,
            _ => crc32fast::hash(&bytes),
        };
        match crc == self.crc {
            true => Ok(bytes),
            false => Err(damaged(&format!(
                "its checksum is {crc:08x}, the archive says {:08x}",
                self.crc
            ))),
        }
    }
}

/// The location of the directory.
struct Directory {
    bytes: Range<usize>,
    entries: u64,
}

fn directory(file: &Bytes) -> Result<Directory, String> {
    let cut = || "the zip archive is cut short: the directory at its end is missing".to_string();
    let newest = file.len().checked_sub(END_LENGTH).ok_or_else(cut)?;
    let oldest = newest.saturating_sub(MAX_COMMENT);
    let end = (oldest..=newest)
        .rev()
        .find(|at| {
            let record = file.get(*at..).unwrap_or_default();
            // The comment fills the rest of the file.
            record.starts_with(&END)
                && u16_at(record, 20)
                    .is_some_and(|comment| END_LENGTH + usize::from(comment) == record.len())
        })
        .ok_or_else(cut)?;
    let record = file.get(end..).unwrap_or_default();
    let bad = || "the directory of the zip archive is damaged".to_string();
    let mut entries = u64::from(u16_at(record, 10).ok_or_else(bad)?);
    let mut size = u64::from(u32_at(record, 12).ok_or_else(bad)?);
    let mut start = u64::from(u32_at(record, 16).ok_or_else(bad)?);
    let mut limit = end;

    let locator = end
        .checked_sub(LOCATOR_LENGTH)
        .and_then(|at| file.get(at..end))
        .filter(|locator| locator.starts_with(&LOCATOR_64));
    if let Some(locator) = locator {
        let at = u64_at(locator, 8)
            .and_then(|at| usize::try_from(at).ok())
            .ok_or_else(bad)?;
        let record = file.get(at..).ok_or_else(bad)?;
        if !record.starts_with(&END_64) {
            return Err(bad());
        }
        entries = u64_at(record, 32).ok_or_else(bad)?;
        size = u64_at(record, 40).ok_or_else(bad)?;
        start = u64_at(record, 48).ok_or_else(bad)?;
        limit = at;
    }
    let range = usize::try_from(start).ok().and_then(|start| {
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        (end <= limit).then_some(start..end)
    });
    Ok(Directory {
        bytes: range.ok_or_else(bad)?,
        entries,
    })
}

/// The first entry of the directory, its name, and what follows it.
fn entry(bytes: &[u8]) -> Result<(&str, Entry, &[u8]), String> {
    let read = || {
        if !bytes.starts_with(&ENTRY) {
            return None;
        }
        let (flags, method) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?);
        let crc = u32_at(bytes, 16)?;
        let mut compressed = u64::from(u32_at(bytes, 20)?);
        let mut size = u64::from(u32_at(bytes, 24)?);
        let name_end = ENTRY_LENGTH + usize::from(u16_at(bytes, 28)?);
        let extra_end = name_end + usize::from(u16_at(bytes, 30)?);
        let end = extra_end + usize::from(u16_at(bytes, 32)?);
        let mut header = u64::from(u32_at(bytes, 42)?);
        let name = std::str::from_utf8(bytes.get(ENTRY_LENGTH..name_end)?).ok()?;
        let extra = bytes.get(name_end..extra_end)?;
        large(extra, [&mut size, &mut compressed, &mut header])?;
        let refused = match (flags & 1 != 0, method) {
            (true, _) => Some(Refusal::Encrypted),
            (false, 0) if compressed == size => None,
            (false, _) => Some(Refusal::Compressed),
        };
        let entry = Entry {
            header,
            size,
            packed: compressed,
            crc,
            refused,
        };
        Some((name, entry, bytes.get(end..)?))
    };
    read().ok_or_else(|| "the directory of the zip archive is damaged".to_string())
}

/// Fills in the values that did not fit into 32 bits from the zip64 field, in their order.
fn large(mut extra: &[u8], values: [&mut u64; 3]) -> Option<()> {
    let mut wide: &[u8] = &[];
    while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let end = 4 + usize::from(length);
        let field = extra.get(4..end)?;
        if id == 1 {
            wide = field;
        }
        extra = extra.get(end..)?;
    }
    for value in values {
        if *value == u64::from(u32::MAX) {
            *value = u64_at(wide, 0)?;
            wide = wide.get(8..)?;
        }
    }
    Some(())
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}
