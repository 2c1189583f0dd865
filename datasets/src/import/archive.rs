//! The arrays of an `.npz` archive, read one by one and within bounds.

use std::io::{Cursor, Read};

use oscar_files::{Budget, other_file};
use zip::ZipArchive;

use super::info::Info;
use super::matrix::Matrix;
use super::npy::{self, NpyHeader, Texts};
use super::npz::DAMAGED;
use crate::findings::Defect;

/// Of so many images at a time the arrays may be in memory.
const AT_A_TIME: u64 = 16;

/// Bytes of memory that a byte of an archive may take: features compress to a half at best, and a
/// 16-bit value becomes a 32-bit one.
const FACTOR: u64 = 8;

/// An archive of arrays.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes of memory that an array may take.
    allowed: u64,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Defect> {
        if let Some(other) = other_file(bytes) {
            return Err(Defect::new(format!("it is {}", other.found), other.fix));
        }
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| Defect::new(format!("not a whole .npz archive ({error})"), DAMAGED))?;
        // The base is for all images that are read at a time.
        let base = Budget::of_file(0, FACTOR).left();
        let allowed = Budget::of_file(bytes.len() as u64, FACTOR).left() - base;
        let allowed = allowed + base / AT_A_TIME;
        Ok(Self { zip, allowed })
    }

    /// Names of the arrays.
    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.zip.file_names().take(20);
        let mut names: Vec<&str> = names.map(|n| n.strip_suffix(".npy").unwrap_or(n)).collect();
        names.sort_unstable();
        names
    }

    /// The array that has one of these names, if there is one.
    pub(super) fn read(&mut self, names: &[&str]) -> Result<Option<Matrix>, Defect> {
        match self.only(names)? {
            None => Ok(None),
            Some(name) => within(&name, self.read_array(&name)).map(Some),
        }
    }

    /// The same, unless it is an array of text.
    pub(super) fn read_numbers(&mut self, names: &[&str]) -> Result<Option<Matrix>, Defect> {
        match self.only(names)? {
            Some(name) if within(&name, self.header(&name))?.is_text() => Ok(None),
            Some(name) => within(&name, self.read_array(&name)).map(Some),
            None => Ok(None),
        }
    }

    /// The array of text that has one of these names, if there is one.
    pub(super) fn texts(&mut self, names: &[&str]) -> Result<Option<Vec<String>>, Defect> {
        let Some(name) = self.only(names)? else {
            return Ok(None);
        };
        if !within(&name, self.header(&name))?.is_text() {
            return Ok(None);
        }
        let texts = self.bytes(&name).and_then(|bytes| Texts::parse(&bytes));
        within(&name, texts).map(Some)
    }

    /// The dictionary that is pickled under this name, if there is one.
    pub(super) fn info(&mut self, name: &str) -> Result<Option<Info>, Defect> {
        if self.only(&[name])?.is_none() || !within(name, self.header(name))?.is_object() {
            return Ok(None);
        }
        let info = self.bytes(name).and_then(|bytes| Info::parse(&bytes));
        within(name, info).map(Some)
    }

    /// The one of these names that is there.
    fn only(&self, names: &[&str]) -> Result<Option<String>, Defect> {
        let there = |name: &&&str| self.zip.index_for_name(&format!("{name}.npy")).is_some();
        let mut there = names.iter().filter(there);
        match (there.next(), there.next()) {
            (None, _) => Ok(None),
            (Some(name), Some(other)) => Err(Defect::new(
                format!("both arrays `{name}` and `{other}`"),
                "keep one of the two",
            )),
            (Some(name), None) => Ok(Some(name.to_string())),
        }
    }

    /// What an array is, of which no more than its header is inflated.
    fn header(&mut self, name: &str) -> Result<npy::Described, Defect> {
        let (_, header) = self.entry(name)?;
        npy::describe(&header)
    }

    /// An array's entry after its header, and the header.
    fn entry(&mut self, name: &str) -> Result<(impl Read, Vec<u8>), Defect> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Defect::new(format!("it cannot be inflated ({error})"), DAMAGED)
        };
        let entry = self.zip.by_name(&format!("{name}.npy"));
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        let mut header = Vec::new();
        let mut read_to = |header: &mut Vec<u8>, len: usize| {
            let more = len.saturating_sub(header.len()) as u64;
            let read = entry.by_ref().take(more).read_to_end(header);
            read.map_err(|error| unreadable(&error))
        };
        read_to(&mut header, 12)?;
        let len = npy::header_len(&header)?;
        read_to(&mut header, len)?;
        Ok((entry, header))
    }

    fn read_array(&mut self, name: &str) -> Result<Matrix, Defect> {
        let allowed = self.allowed;
        let (entry, header) = self.entry(name)?;
        let header = NpyHeader::parse(&header)?;
        if header.memory() > allowed {
            let found = format!(
                "values of shape {:?} take {} MiB, more than the {} MiB allowed for a file of this \
                 size",
                header.shape(),
                header.memory() >> 20,
                allowed >> 20
            );
            return Err(Defect::new(
                found,
                "check what it is; save it without compression",
            ));
        }
        header.read(entry)
    }

    /// An array file, whole.
    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Defect> {
        let allowed = self.allowed;
        let (entry, mut bytes) = self.entry(name)?;
        let read = entry.take(allowed).read_to_end(&mut bytes);
        read.map_err(|error| Defect::new(format!("it cannot be inflated ({error})"), DAMAGED))?;
        match bytes.len() as u64 >= allowed {
            true => {
                let found = format!("it takes more than {} MiB", allowed >> 20);
                Err(Defect::new(found, "check what it is"))
            }
            false => Ok(bytes),
        }
    }
}

fn within<T>(name: &str, result: Result<T, Defect>) -> Result<T, Defect> {
    result.map_err(|defect| defect.within(format_args!("array `{name}`")))
}
