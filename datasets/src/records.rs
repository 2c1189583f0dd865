//! JSON records of a file, one at a time: JSON lines, an array, the long lists of one object, or an
//! object of records by key; plain or compressed by gzip.
//!
//! What is wrong with a record does not end the file: the records after it are still read.

mod form;

use std::io::{self, BufRead, Cursor, Read};
use std::path::{Path, PathBuf};

use oscar_files::{first_byte, parse_json, printed_by_python, without_bom};
use serde::de::DeserializeOwned;

use crate::error::{DatasetError, Result, excerpt};
use crate::findings::{Defect, Kind};
use crate::tabular::{AS_JSON, row_of_table};
use crate::text::open_text;

pub(crate) use form::has_texts;
use form::{has_list, has_records};

/// A larger record is damage, or an archive made to fill the memory: real ones have some kilobytes.
const MAX_RECORD: usize = 1 << 20;

/// How much of a file is read to find out its form.
const HEAD: u64 = 1 << 16;

const FIX: &str = "the file is damaged or was cut off: copy it again";

/// A record of a file.
pub(crate) struct Record<'a> {
    /// The list of the object that it is in, if the file is one object.
    pub(crate) list: Option<&'static str>,
    /// Its line, or its place in its list, from 1.
    pub(crate) number: usize,
    /// Its key, if the file is an object of records.
    pub(crate) key: Option<&'a str>,
    text: Result<&'a str, Defect>,
}

impl Record<'_> {
    /// Bytes of its text.
    pub(crate) fn len(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.len())
    }

    /// The record as a type.
    ///
    /// # Errors
    /// Broken JSON, another type, or what is wrong with the text itself.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Defect> {
        parse(self.text.as_ref().map_err(Defect::clone)?)
    }
}

/// The JSON text of a record as a type.
///
/// # Errors
/// Broken JSON, or another type.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Defect> {
    parse_json(text).map_err(|error| json_defect(&error, text))
}

/// What is wrong with the JSON text of a record.
fn json_defect(error: &serde_json::Error, record: &str) -> Defect {
    let text = error.to_string();
    // The reader of a field adds its name, which hides that the JSON itself is cut off.
    let kind = match error.is_data() && !text.contains("EOF while parsing") {
        true => Kind::Field,
        false => Kind::Json,
    };
    if kind == Kind::Json
        && let Some(found) = row_of_table(record)
    {
        return Defect::of(kind, found).fix(AS_JSON);
    }
    let text = text.split(" at line ").next().unwrap_or_default();
    let otherwise = match text {
        "trailing characters" if record.trim_end().ends_with("},") => (
            "a comma after the object, where lines have none",
            "remove it",
        ),
        "trailing characters" if record.contains("}\r") => (
            "a line end of a carriage return alone, where a newline ends a line",
            "convert the line ends",
        ),
        "trailing characters" if record.trim_end().ends_with('}') => (
            "two objects with neither a comma nor a line end between them",
            "write each object on a line of its own, or commas between those of an array",
        ),
        text if text.starts_with("EOF while parsing") => (
            text,
            "write the whole object in one line, or copy a file again that was cut off",
        ),
        text => (text, "correct the row"),
    };
    let (text, fix) = printed_by_python(error, record).unwrap_or(otherwise);
    let place = match error.line() {
        // Conversions after parsing know no place.
        0 => String::new(),
        1 => format!("column {}: ", error.column()),
        line => format!("line {line}, column {} of the row: ", error.column()),
    };
    Defect::of(kind, format!("{place}{text}")).fix(fix)
}

/// The error about a file that begins like no JSON.
fn no_json(path: &Path, start: &[u8]) -> DatasetError {
    let line = start.split(|byte| *byte == b'\n').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let line = line.trim_end();
    match row_of_table(line) {
        Some(found) => DatasetError::malformed(path, found, AS_JSON),
        None => {
            let start = excerpt(line);
            let found = format!("starts with {start}: neither a JSON array nor JSON lines");
            let fix = "give a file of JSON objects, one per line or in an array";
            DatasetError::malformed(path, found, fix)
        }
    }
}

/// How the records are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Array,
    /// An object with lists of records.
    Object,
    /// An object of records by key.
    Keyed,
}

/// The records of a file, in order.
pub(crate) struct Records {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    form: Form,
    /// The lists of an object that hold records.
    lists: &'static [&'static str],
    /// Where the reader is.
    state: State,
    list: Option<&'static str>,
    /// Records read from the current list.
    number: usize,
    record: Vec<u8>,
    key: String,
}

#[derive(Clone, Copy)]
enum State {
    /// Before the first record of a list.
    ListStart,
    /// Before another record of a list.
    InList,
    /// Before a key of the object.
    BeforeKey,
    /// After a list of the object.
    AfterList,
    Ended,
}

impl Records {
    /// Opens `path`. An object is one file of records if it has one of `lists`, or if its members are
    /// questions, as GQA's are; otherwise it is the first of JSON lines.
    ///
    /// # Errors
    /// A file that is missing, cannot be read, or begins like no JSON.
    pub(crate) fn open(path: &Path, lists: &'static [&'static str]) -> Result<Self> {
        Self::open_as(path, lists, has_records)
    }

    /// The same, but that the members of an object are lists of texts: captions by image.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_texts(path: &Path, lists: &'static [&'static str]) -> Result<Self> {
        Self::open_as(path, lists, has_texts)
    }

    fn open_as(
        path: &Path,
        lists: &'static [&'static str],
        is_keyed: fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let mut reader = open_text(path)?;
        let mut head = Vec::new();
        let read = (&mut reader).take(HEAD).read_to_end(&mut head);
        read.map_err(DatasetError::io("read", path))?;
        let form = match head.trim_ascii_start().first() {
            Some(b'[') => Form::Array,
            Some(b'{') if has_list(&head, lists) => Form::Object,
            Some(b'{') if is_keyed(&head) => Form::Keyed,
            Some(b'{') | None => Form::Lines,
            Some(_) => return Err(no_json(path, head.trim_ascii_start())),
        };
        let blank = head.len() - head.trim_ascii_start().len();
        let blank_lines = memchr::memchr_iter(b'\n', &head[..blank]).count();
        let mut start = Cursor::new(head);
        start.set_position(blank as u64);
        let mut records = Self {
            path: path.to_path_buf(),
            reader: Box::new(start.chain(reader)),
            form,
            lists,
            state: State::ListStart,
            list: None,
            number: blank_lines,
            record: Vec::new(),
            key: String::new(),
        };
        if form != Form::Lines {
            records.number = 0;
            // The opening bracket.
            next_byte(&mut records.reader).map_err(DatasetError::io("read", path))?;
        }
        if matches!(form, Form::Object | Form::Keyed) {
            records.state = State::BeforeKey;
        }
        Ok(records)
    }

    /// Whether the file has one record per line.
    pub(crate) fn is_lines(&self) -> bool {
        self.form == Form::Lines
    }

    /// Whether the file is one object with lists of records.
    pub(crate) fn is_object(&self) -> bool {
        self.form == Form::Object
    }

    /// Whether the file is one object of records by key.
    pub(crate) fn is_by_key(&self) -> bool {
        self.form == Form::Keyed
    }

    /// The next record, or `None` after the last.
    ///
    /// # Errors
    /// If the file cannot be read on, or is not JSON outside of its records. It then counts as
    /// ended.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>> {
        let read = match self.form {
            Form::Lines => self.next_line(),
            Form::Array | Form::Object => self.next_element(),
            Form::Keyed => self.next_member(),
        };
        let read = read.map_err(|error| {
            self.state = State::Ended;
            self.failed(error)
        })?;
        let Some(checked) = read else {
            self.state = State::Ended;
            return Ok(None);
        };
        let text = checked.and_then(|()| text(&self.record));
        Ok(Some(Record {
            list: self.list,
            number: self.number,
            key: (self.form == Form::Keyed).then_some(&self.key),
            text,
        }))
    }

    fn failed(&self, error: io::Error) -> DatasetError {
        match error.kind() {
            // Found by this reader.
            io::ErrorKind::InvalidData if error.get_ref().is_some_and(|e| e.is::<Defect>()) => {
                DatasetError::malformed(&self.path, error.to_string(), FIX)
            }
            _ => DatasetError::io("read", &self.path)(error),
        }
    }

    /// Reads a line into the record; blank lines may only end the file.
    fn next_line(&mut self) -> io::Result<Option<Result<(), Defect>>> {
        if matches!(self.state, State::Ended) {
            return Ok(None);
        }
        self.record.clear();
        self.number += 1;
        // One byte more than allowed, and the newline.
        let most = MAX_RECORD as u64 + 2;
        let read = (&mut self.reader)
            .take(most)
            .read_until(b'\n', &mut self.record)?;
        let whole = self.record.pop_if(|last| *last == b'\n').is_some();
        if self.record.len() > MAX_RECORD {
            if !whole {
                self.reader.skip_until(b'\n')?;
            }
            return Ok(Some(Err(too_long())));
        }
        if !self.record.trim_ascii().is_empty() {
            return Ok(Some(Ok(())));
        }
        match read > 0 && first_byte(&mut self.reader)?.is_some() {
            true => Ok(Some(Err(
                Defect::of(Kind::Json, "a blank line").fix("remove it")
            ))),
            false => Ok(None),
        }
    }

    /// Reads an element of the array, or of a list of the object, into the record.
    fn next_element(&mut self) -> io::Result<Option<Result<(), Defect>>> {
        loop {
            match self.state {
                State::Ended => return Ok(None),
                State::BeforeKey => match self.enter_list()? {
                    true => {}
                    false => return self.end(),
                },
                State::AfterList => match next_byte(&mut self.reader)? {
                    Some(b',') => self.state = State::BeforeKey,
                    Some(b'}') => return self.end(),
                    _ => return Err(broken("a comma or a brace is missing after a list")),
                },
                State::ListStart if first_byte(&mut self.reader)? == Some(b']') => {
                    self.reader.consume(1);
                    if self.form == Form::Array {
                        return self.end();
                    }
                    self.state = State::AfterList;
                }
                State::ListStart | State::InList => return self.read_element().map(Some),
            }
        }
    }

    /// Reads a member of an object of records: its key, and its value into the record.
    fn next_member(&mut self) -> io::Result<Option<Result<(), Defect>>> {
        if matches!(self.state, State::Ended) {
            return Ok(None);
        }
        let Some(key) = self.read_key()? else {
            return self.end();
        };
        self.key = String::from_utf8_lossy(&key).into_owned();
        self.record.clear();
        self.number += 1;
        let (length, end) = copy_value(&mut self.reader, b'}', &mut self.record)?;
        match end {
            Some(b',') => {}
            Some(_) => {
                self.end()?;
                self.state = State::Ended;
            }
            None => {
                self.state = State::Ended;
                let cut = Defect::of(Kind::Json, "EOF: the file ends before its object does");
                return Ok(Some(Err(cut.fix(FIX))));
            }
        }
        Ok(Some(match length > MAX_RECORD {
            true => Err(too_long()),
            false => Ok(()),
        }))
    }

    /// Reads a key of the object and the colon after it; none at the object's end.
    fn read_key(&mut self) -> io::Result<Option<Vec<u8>>> {
        match next_byte(&mut self.reader)? {
            Some(b'"') => {}
            Some(b'}') => return Ok(None),
            _ => return Err(broken("a key is missing")),
        }
        let mut key = Vec::new();
        (&mut self.reader).take(256).read_until(b'"', &mut key)?;
        key.pop();
        match next_byte(&mut self.reader)? {
            Some(b':') => Ok(Some(key)),
            _ => Err(broken("a colon is missing after a key")),
        }
    }

    fn read_element(&mut self) -> io::Result<Result<(), Defect>> {
        self.record.clear();
        self.number += 1;
        let (length, end) = copy_value(&mut self.reader, b']', &mut self.record)?;
        let blank = self.record.trim_ascii().is_empty();
        self.state = match (end, self.form) {
            (Some(b','), _) => State::InList,
            (Some(_), Form::Object) => State::AfterList,
            (Some(_), _) => {
                self.end()?;
                State::Ended
            }
            (None, _) => {
                self.state = State::Ended;
                let cut = Defect::of(Kind::Json, "EOF: the file ends before the list does");
                return Ok(Err(cut.fix(FIX)));
            }
        };
        if blank && end == Some(b']') {
            let found = "a comma before the end of the list";
            return Ok(Err(Defect::of(Kind::Json, found).fix("remove it")));
        }
        Ok(match length > MAX_RECORD {
            true => Err(too_long()),
            false => Ok(()),
        })
    }

    /// Skips members of the object up to the next list of records; false at the object's end.
    fn enter_list(&mut self) -> io::Result<bool> {
        loop {
            let Some(key) = self.read_key()? else {
                return Ok(false);
            };
            let list = self.lists.iter().find(|list| list.as_bytes() == key);
            if let Some(list) = list
                && first_byte(&mut self.reader)? == Some(b'[')
            {
                self.reader.consume(1);
                (self.list, self.number, self.state) = (Some(*list), 0, State::ListStart);
                return Ok(true);
            }
            match copy_value(&mut self.reader, b'}', &mut Vec::new())? {
                (_, Some(b',')) => {}
                (_, Some(_)) => return Ok(false),
                (_, None) => return Err(broken("EOF: the file ends within its object")),
            }
        }
    }

    /// Nothing may follow.
    fn end(&mut self) -> io::Result<Option<Result<(), Defect>>> {
        match next_byte(&mut self.reader)? {
            None => Ok(None),
            Some(_) => Err(broken("trailing characters after the JSON")),
        }
    }
}

/// Follows JSON text byte by byte.
#[derive(Default)]
pub(crate) struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// How many objects and lists are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether the next byte is one of a text.
    pub(crate) fn is_in_string(&self) -> bool {
        self.in_string
    }

    /// Goes past `byte`.
    pub(crate) fn follow(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn is_outside(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

/// Copies a value up to the comma or `closing` bracket after it, no more than a record may have;
/// its length, and what ended it.
fn copy_value(
    reader: &mut impl BufRead,
    closing: u8,
    out: &mut Vec<u8>,
) -> io::Result<(usize, Option<u8>)> {
    let (mut nesting, mut length) = (Nesting::default(), 0);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((length, None));
        }
        let end = buffer.iter().position(|&byte| {
            let ends = nesting.is_outside() && (byte == b',' || byte == closing);
            nesting.follow(byte);
            ends
        });
        let part = &buffer[..end.unwrap_or(buffer.len())];
        length += part.len();
        if length <= MAX_RECORD {
            out.extend_from_slice(part);
        }
        let ended_by = end.map(|at| buffer[at]);
        let read = part.len() + usize::from(end.is_some());
        reader.consume(read);
        if ended_by.is_some() {
            return Ok((length, ended_by));
        }
    }
}

/// The text of a line or record.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Defect> {
    std::str::from_utf8(without_bom(bytes)).map_err(|error| {
        let found = format!("byte {} is not UTF-8 text", error.valid_up_to() + 1);
        Defect::of(Kind::NotUtf8, found).fix("convert the file to UTF-8")
    })
}

fn too_long() -> Defect {
    let found = format!("a record of more than {} MiB", MAX_RECORD >> 20);
    Defect::of(Kind::Json, found).fix("split or drop it; is a newline or a comma missing?")
}

fn broken(found: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Defect::of(Kind::Json, found))
}

/// The next byte that is not blank.
fn next_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    let first = first_byte(reader)?;
    reader.consume(usize::from(first.is_some()));
    Ok(first)
}
