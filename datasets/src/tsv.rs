//! The TSV container of the official data: one record a line, fields separated by tabs, and beside
//! it a `.lineidx` file with the byte offset of each line.
//!
//! The index of `train.feature.tsv` is `train.feature.lineidx`: the last extension is replaced.
//! Both files are checked against each other where a row is read, so that an index of another
//! version of the file is noticed at the first row it gets wrong.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use oscar_files::{OpenFile, without_bom};

use crate::error::{DatasetError, Result, excerpt_bytes};
use crate::findings::Defect;
use crate::mapped::read_file;
use crate::official::unquoted;

const HINT: &str = "it is a table of the official data, tab-separated; check the path";
const INDEX_FIX: &str = "the index belongs to another version of the file: delete it; it is \
                         not needed to read the file";

/// What is wrong with an offset that no line begins at.
const IN_A_LINE: &str = "is in the middle of a line";

/// Rows that are looked at to tell a table from another file: one of them may be damaged.
const FIRST_ROWS: usize = 3;

/// Longer first fields are not keys.
const MAX_KEY: usize = 1 << 16;

/// A memory-mapped TSV file with random access to its rows, which must not change while it is open.
pub struct TsvFile {
    file: OpenFile,
    map: Bytes,
    /// Start of each line, then the end of the last.
    offsets: Vec<u64>,
    index: Option<PathBuf>,
}

impl TsvFile {
    /// Opens `path`, with the `.lineidx` beside it, or by a pass over the file where there is none.
    ///
    /// # Errors
    /// A missing file, an index that is not a list of ascending offsets from 0 within the file,
    /// over 4,294,967,295 rows.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenFile::open(path).map_err(DatasetError::missing(HINT))?;
        let map = file.map()?;
        let index = index_path(path);
        let (offsets, index) = match index.exists() {
            true => {
                let offsets = parse_line_index(&read_file(&index, HINT)?, map.len());
                let offsets = offsets.map_err(|defect| defect.in_file(&index))?;
                (offsets, Some(index))
            }
            false => (row_starts(&map), None),
        };
        Self::new(file, map, offsets, index)
    }

    /// Opens `path` by a pass over it, whatever index there is.
    ///
    /// # Errors
    /// A missing file; over 4,294,967,295 rows.
    pub(crate) fn open_unindexed(path: &Path) -> Result<Self> {
        let file = OpenFile::open(path).map_err(DatasetError::missing(HINT))?;
        let map = file.map()?;
        let offsets = row_starts(&map);
        Self::new(file, map, offsets, None)
    }

    /// Where each line starts, then where the last one ends.
    pub(crate) fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// The bytes of row `row`, which must exist, without its newline.
    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        let line = &self.map[self.offsets[row] as usize..self.offsets[row + 1] as usize];
        without_bom(line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// Opens `path` with the offsets of its lines, ascending, as the file `index` gives them.
    ///
    /// # Errors
    /// A missing file; offsets that do not begin with 0 or leave the file; over 4,294,967,295
    /// rows.
    pub(crate) fn open_at(path: &Path, mut offsets: Vec<u64>, index: &Path) -> Result<Self> {
        let file = OpenFile::open(path).map_err(DatasetError::missing(HINT))?;
        let map = file.map()?;
        let len = map.len() as u64;
        let wrong = |found| Err(DatasetError::malformed(index, found, INDEX_FIX));
        match (offsets.first(), offsets.last()) {
            (Some(first), _) if *first != 0 => {
                return wrong(format!("the first offset is {first}, not 0"));
            }
            (_, Some(last)) if *last >= len => {
                return wrong(format!("offset {last} is beyond the file's {len} bytes"));
            }
            (None, _) if len > 0 => return wrong("no offset".into()),
            _ => offsets.push(len),
        }
        Self::new(file, map, offsets, Some(index.to_path_buf()))
    }

    fn new(file: OpenFile, map: Bytes, offsets: Vec<u64>, index: Option<PathBuf>) -> Result<Self> {
        if offsets.len() > u32::MAX as usize {
            let found = format!("{} rows", offsets.len() - 1);
            let fix = "divide the file: 4,294,967,294 rows are read at most";
            return Err(DatasetError::malformed(file.path(), found, fix));
        }
        Ok(Self {
            file,
            map,
            offsets,
            index,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The row that starts at byte `offset`.
    pub(crate) fn row_at(&self, offset: u64) -> Option<usize> {
        let row = self.offsets.binary_search(&offset).ok()?;
        (row < self.len()).then_some(row)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where row `row` stands, for messages: `features.tsv:17`.
    pub fn origin(&self, row: usize) -> String {
        format!("{}:{}", self.path().display(), row + 1)
    }

    /// The line of row `row`, without its newline.
    ///
    /// # Errors
    /// No such row; or the index is out of step with the file: the row does not start after a
    /// newline, or does not end with its first one.
    pub fn line(&self, row: usize) -> Result<&[u8]> {
        let (start, line) = self.indexed(row)?;
        if let Some(index) = &self.index {
            let newline = memchr::memchr(b'\n', line).unwrap_or(line.len());
            // The last line may lack its newline.
            if newline + 1 < line.len() {
                return Err(out_of_step(
                    index,
                    row,
                    start,
                    "is followed by more than one line",
                ));
            }
            if newline == line.len() && row + 1 < self.len() {
                let end = self.offsets[row + 1] as usize;
                return Err(out_of_step(index, row + 1, end, IN_A_LINE));
            }
        }
        Ok(line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// The first field of row `row`, without a look at the rest of the row, which may be long.
    ///
    /// # Errors
    /// As [`line`](Self::line), as far as the first field shows it; text that is not UTF-8.
    pub fn first_field(&self, row: usize) -> Result<&str> {
        let (start, line) = self.indexed(row)?;
        let end = memchr::memchr2(b'\t', b'\n', line).unwrap_or(line.len());
        if end > MAX_KEY {
            let found = format!("a first field of {end} bytes");
            return Err(self.wrong(row, found, "a key is short: is a tab or a newline missing?"));
        }
        if let Some(index) = &self.index
            && line.get(end) == Some(&b'\n')
            && end + 1 < line.len()
        {
            return Err(out_of_step(
                index,
                row,
                start,
                "is followed by more than one line",
            ));
        }
        self.text(row, 0, &line[..end])
    }

    /// Start and bytes of row `row` as the index has them, which must start after a newline.
    fn indexed(&self, row: usize) -> Result<(usize, &[u8])> {
        if row >= self.len() {
            let found = format!("row {} was asked for, of {}", row + 1, self.len());
            return Err(DatasetError::malformed(
                self.path(),
                found,
                "the file that names the row belongs to another version of this one",
            ));
        }
        // Tables hold region values, so they are mapped; a map must not be read beyond the end of
        // a file that was cut off meanwhile.
        self.file.unchanged()?;
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        match &self.index {
            Some(index) if start > 0 && self.map[start - 1] != b'\n' => {
                Err(out_of_step(index, row, start, IN_A_LINE))
            }
            // Tables that were put together from several may have a mark before each part.
            _ => Ok((start, without_bom(&self.map[start..end]))),
        }
    }

    /// The fields of row `row`, of which there must be at least `N`: the first `N`, stripped of
    /// blanks, and whatever follows them.
    ///
    /// # Errors
    /// As [`line`](Self::line); too few fields; a field that is not UTF-8.
    pub fn fields<const N: usize>(&self, row: usize) -> Result<[&str; N]> {
        let mut fields = [""; N];
        let line = self.line(row)?;
        let mut rest = line.split(|byte| *byte == b'\t');
        for (column, field) in fields.iter_mut().enumerate() {
            let bytes = rest.next().ok_or_else(|| {
                let found = format!("{column} tab-separated field(s), where {N} are needed");
                self.wrong(row, found, "is a tab missing, or is this another file?")
            })?;
            *field = self.text(row, column, bytes)?;
        }
        Ok(fields)
    }

    /// First and last field of row `row`, which has at least two: key and content.
    ///
    /// # Errors
    /// As [`fields`](Self::fields).
    pub fn first_and_last(&self, row: usize) -> Result<[&str; 2]> {
        let line = self.line(row)?;
        let first = memchr::memchr(b'\t', line);
        let last = memchr::memrchr(b'\t', line);
        let (Some(first), Some(last)) = (first, last) else {
            let found = format!("no tab in {}", excerpt_bytes(line));
            return Err(self.wrong(row, found, "a key and its content are separated by a tab"));
        };
        Ok([
            self.text(row, 0, &line[..first])?,
            self.text(row, 1, &line[last + 1..])?,
        ])
    }

    /// Refuses a file without a tab in any of its first rows, as one that is separated by commas: whole
    /// lines would be its keys, and no image would be found.
    ///
    /// # Errors
    /// As [`first_and_last`](Self::first_and_last).
    pub(crate) fn require_tabs(&self) -> Result<()> {
        self.file.unchanged()?;
        let rows = self.len().min(FIRST_ROWS);
        let has_tab = |row: usize| memchr::memchr(b'\t', self.bytes(row)).is_some();
        match rows == 0 || (0..rows).any(has_tab) {
            true => Ok(()),
            false => self.first_and_last(0).map(|_| ()),
        }
    }

    /// The error that row `row` has this defect.
    pub fn located(&self, row: usize, defect: Defect) -> DatasetError {
        defect.in_line(self.path(), row + 1)
    }

    /// An error about row `row`.
    pub fn wrong(&self, row: usize, found: impl Into<String>, fix: &'static str) -> DatasetError {
        DatasetError::Annotation {
            path: self.path().to_path_buf(),
            line: row + 1,
            found: found.into(),
            fix,
        }
    }

    fn text<'a>(&self, row: usize, column: usize, bytes: &'a [u8]) -> Result<&'a str> {
        match std::str::from_utf8(bytes) {
            Ok(text) if column == 0 => Ok(unquoted(text)),
            Ok(text) => Ok(text.trim()),
            Err(error) => {
                let found = format!(
                    "field {}: byte {} is not UTF-8 text",
                    column + 1,
                    error.valid_up_to() + 1
                );
                Err(self.wrong(row, found, "the file is damaged, or not in UTF-8"))
            }
        }
    }
}

fn out_of_step(index: &Path, row: usize, start: usize, what: &str) -> DatasetError {
    let found = format!("line {}: offset {start} {what}", row + 1);
    DatasetError::malformed(index, found, INDEX_FIX)
}

/// The index that belongs to the table at `path`: its last extension is replaced.
pub(crate) fn index_path(path: &Path) -> PathBuf {
    path.with_extension("lineidx")
}

/// The offsets in a `.lineidx` of a file of `file_len` bytes, with the end of the file added.
///
/// # Errors
/// Anything but ascending numbers from 0 within the file, one a line.
pub fn parse_line_index(index: &[u8], file_len: usize) -> Result<Vec<u64>, Defect> {
    let lines = memchr::memchr_iter(b'\n', index).count();
    let mut offsets: Vec<u64> = Vec::with_capacity(lines + 2);
    for (at, line) in index.split(|byte| *byte == b'\n').enumerate() {
        let text = line.trim_ascii();
        if text.is_empty() && at == lines {
            // What follows the last newline.
            continue;
        }
        let offset = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
        let previous = offsets.last().copied();
        let problem = match offset {
            None => format!("{} is not a number", excerpt_bytes(text)),
            Some(offset) if at == 0 && offset != 0 => {
                format!("the first offset is {offset}, not 0")
            }
            Some(offset) if previous.is_some_and(|previous| offset <= previous) => {
                format!("offset {offset} does not ascend")
            }
            Some(offset) if offset >= file_len as u64 => {
                format!("offset {offset} is beyond the file's {file_len} bytes")
            }
            Some(offset) => {
                offsets.push(offset);
                continue;
            }
        };
        let found = format!("line {}: {problem}", at + 1);
        return Err(Defect::new(found, INDEX_FIX));
    }
    offsets.push(file_len as u64);
    match offsets.len() {
        1 if file_len > 0 => Err(Defect::new("no offset", INDEX_FIX)),
        _ => Ok(offsets),
    }
}

/// Where each line starts, then where the last one ends; a newline at the end opens no line.
pub(crate) fn line_starts(bytes: &[u8]) -> Vec<u64> {
    // Counted first: a vector that grows takes up to three times what it holds.
    let mut starts = Vec::with_capacity(memchr::memchr_iter(b'\n', bytes).count() + 2);
    starts.push(0);
    starts.extend(memchr::memchr_iter(b'\n', bytes).map(|at| at as u64 + 1));
    if starts.last() != Some(&(bytes.len() as u64)) {
        starts.push(bytes.len() as u64);
    }
    starts
}

/// Where each row of a table starts, then where the last one ends: blank lines may end the file.
fn row_starts(bytes: &[u8]) -> Vec<u64> {
    let mut starts = line_starts(bytes);
    while let [.., start, end] = starts[..]
        && starts.len() > 2
        && matches!(&bytes[start as usize..end as usize], b"\n" | b"\r\n")
    {
        starts.pop();
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(tsv: &[u8], index: Option<&str>) -> Result<TsvFile> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.feature.tsv");
        std::fs::write(&path, tsv).unwrap();
        if let Some(index) = index {
            std::fs::write(dir.path().join("a.feature.lineidx"), index).unwrap();
        }
        TsvFile::open(&path)
    }

    fn problem<T>(result: Result<T>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn rows_with_and_without_an_index() {
        for index in [None, Some("0\n6\n"), Some("0\n6"), Some("0\r\n6\r\n")] {
            for last in ["", "\n"] {
                let file = open(format!("k\t2\tx\nl \t3\ty{last}").as_bytes(), index).unwrap();
                assert_eq!(file.len(), 2);
                assert_eq!(file.fields::<3>(0).unwrap(), ["k", "2", "x"]);
                assert_eq!(file.fields::<1>(1).unwrap(), ["l"]);
                assert_eq!(file.first_and_last(1).unwrap(), ["l", "y"]);
                assert!(problem(file.line(2)).contains("row 3 was asked for, of 2"));
            }
        }
        assert_eq!(open(b"", None).unwrap().len(), 0);
        assert_eq!(open(b"", Some("")).unwrap().len(), 0);
    }

    #[test]
    fn an_index_that_is_out_of_step() {
        for (index, wanted) in [
            ("0\n3\n", "line 2: offset 3 is in the middle of a line"),
            ("0\n", "line 1: offset 0 is followed by more than one line"),
            ("1\n4\n", "line 1: the first offset is 1, not 0"),
            ("0\n4\n4\n", "line 3: offset 4 does not ascend"),
            ("0\n8\n", "line 2: offset 8 is beyond the file's 8 bytes"),
            ("0\n4x\n", "line 2: \"4x\" is not a number"),
            ("0\n\n4\n", "line 2: \"\" is not a number"),
            ("", "no offset"),
        ] {
            let rows = open(b"k\t1\nl\t2\n", Some(index))
                .and_then(|file| (0..file.len()).try_for_each(|row| file.line(row).map(|_| ())));
            let found = problem(rows);
            assert!(
                found.contains(wanted) && found.contains("lineidx"),
                "{found}"
            );
        }
    }

    #[test]
    fn a_row_that_the_index_cuts_off_is_not_read() {
        let file = open(b"k\t1\nl\t2\n", Some("0\n2\n")).unwrap();
        let found = problem(file.line(0));
        assert!(
            found.contains("line 2: offset 2 is in the middle of a line"),
            "{found}"
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_key() {
        for index in [None, Some("0\n7\n")] {
            let file = open(b"\xef\xbb\xbfk\t1\n\xef\xbb\xbfl\t2\n", index).unwrap();
            for (row, key) in ["k", "l"].into_iter().enumerate() {
                assert_eq!(file.first_field(row).unwrap(), key);
                assert_eq!(file.first_and_last(row).unwrap()[0], key);
                assert_eq!(file.bytes(row)[..1], *key.as_bytes());
            }
            assert_eq!(file.row_at(0), Some(0));
        }
        let long = vec![b'a'; MAX_KEY + 1];
        let found = problem(open(&long, None).unwrap().first_field(0));
        assert!(
            found.contains("a.feature.tsv:1: a first field of"),
            "{found}"
        );
    }

    #[test]
    fn rows_that_are_wrong() {
        let file = open(b"key 1\nk\t\xff\tz\n", None).unwrap();
        let found = problem(file.fields::<2>(0));
        assert!(
            found.contains("a.feature.tsv:1: 1 tab-separated field(s)"),
            "{found}"
        );
        assert!(problem(file.first_and_last(0)).contains("no tab in \"key 1\""));
        let found = problem(file.fields::<2>(1));
        assert!(
            found.contains(":2: field 2: byte 1 is not UTF-8"),
            "{found}"
        );
    }

    #[test]
    fn blank_lines_may_end_a_table() {
        assert_eq!(row_starts(b"a\t1\nb\t\n"), [0, 4, 7]);
        assert_eq!(row_starts(b"a\t1\nb\t\n\r\n\n"), [0, 4, 7]);
        assert_eq!(row_starts(b"\n\na\n"), [0, 1, 2, 4]);
        assert_eq!(row_starts(b"\n\n"), [0, 1]);
        assert_eq!(row_starts(b""), [0]);
    }
}
