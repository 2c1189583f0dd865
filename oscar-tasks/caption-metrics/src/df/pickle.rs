//! Document frequencies as Python pickles them.
//!
//! A pickle is a program. This is a machine for the few instructions that such a dictionary needs,
//! which only builds values; any class but dictionaries and `float` is an error that names it. Values
//! are kept once and referred to by number, so nothing is copied, and what is kept is bounded by the
//! size of the file.

use foldhash::{HashMap, HashMapExt};

use super::DocumentFrequencies;

type Result<T> = std::result::Result<T, String>;

enum Value {
    None,
    Number(f64),
    Text(String),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// A class, by module and name: of no use but to be called.
    Class(Class),
}

#[derive(Clone, Copy)]
enum Class {
    Dict,
    Number,
}

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    values: Vec<Value>,
    /// Numbers of values.
    stack: Vec<usize>,
    /// Where a list of values on the stack begins.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<DocumentFrequencies> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let top = machine
        .run()
        .map_err(|found| format!("a pickle with {found} before byte {}", machine.at))?;
    frequencies(&machine.values, top)
}

/// The two entries of the dictionary.
fn frequencies(values: &[Value], top: usize) -> Result<DocumentFrequencies> {
    let entry = |name: &str| match &values[top] {
        Value::Dict(entries) => entries
            .iter()
            .rev()
            .find(|(key, _)| matches!(&values[*key], Value::Text(text) if text == name))
            .map(|&(_, value)| &values[value])
            .ok_or_else(|| format!("a pickled dictionary without `{name}`")),
        _ => Err("a pickle of something else than a dictionary".to_owned()),
    };
    let mut found = DocumentFrequencies::default();
    match entry("ref_len")? {
        Value::Number(images) => found.images = *images,
        _ => return Err("a `ref_len` that is no number".into()),
    }
    let Value::Dict(grams) = entry("document_frequency")? else {
        return Err("a `document_frequency` that is no dictionary".into());
    };
    for &(gram, count) in grams {
        let (Value::Tuple(gram), Value::Number(count)) = (&values[gram], &values[count]) else {
            return Err("an n-gram that is no tuple of words with a number".into());
        };
        let mut words = Vec::with_capacity(gram.len().min(8));
        // One more than are allowed shows that there are too many.
        for &word in gram.iter().take(8) {
            match &values[word] {
                Value::Text(word) => words.push(word.as_str()),
                _ => return Err("an n-gram with something else than words".into()),
            }
        }
        found.insert(words.into_iter(), *count)?;
    }
    Ok(found)
}

impl<'b> Machine<'b> {
    /// Runs to the end; the number of the value that the pickle is of.
    fn run(&mut self) -> Result<usize> {
        loop {
            match self.byte()? {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Number(1.0)),
                0x89 => self.push(Value::Number(0.0)),
                // Numbers.
                b'I' | b'F' | b'L' => self.decimal()?,
                b'J' => {
                    let number = i32::from_le_bytes(self.array()?);
                    self.push(Value::Number(number.into()));
                }
                b'K' => {
                    let number = self.byte()?;
                    self.push(Value::Number(number.into()));
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.array()?);
                    self.push(Value::Number(number.into()));
                }
                0x8a => self.long()?,
                b'G' => {
                    let number = f64::from_be_bytes(self.array()?);
                    self.push(Value::Number(number));
                }
                // Texts.
                b'U' | 0x8c => {
                    let length = self.byte()?;
                    self.text(length.into())?;
                }
                b'T' | b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.text(length.into())?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.array()?);
                    self.text(length)?;
                }
                b'S' | b'V' => self.written()?,
                // Tuples and dictionaries.
                b')' => self.push(Value::Tuple(Vec::new())),
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Value::Tuple(items));
                }
                b'}' => self.push(Value::Dict(Vec::new())),
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Value::Dict(Vec::new()));
                    self.set(&items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(&items)?;
                }
                // Classes.
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.class(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop_text()?, self.pop_text()?);
                    self.class(&module, &name)?;
                }
                b'R' => self.call()?,
                // What was there before.
                b'p' => {
                    let place = self.place()?;
                    self.keep(place)?;
                }
                b'q' => {
                    let place = self.byte()?;
                    self.keep(place.into())?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.keep(place.into())?;
                }
                0x94 => self.keep(self.memo.len() as u64)?,
                b'g' => {
                    let place = self.place()?;
                    self.recall(place)?;
                }
                b'h' => {
                    let place = self.byte()?;
                    self.recall(place.into())?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.recall(place.into())?;
                }
                other => {
                    return Err(format!(
                        "the instruction {other:#04x}, which no dictionary of n-grams has,"
                    ));
                }
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| "an end".to_owned())
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end));
        let bytes = bytes.ok_or("an end (a truncated file?)")?;
        self.at += length;
        Ok(bytes)
    }

    /// The rest of the line, as protocol 0 writes arguments.
    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or("an end (a truncated file?)")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<usize> {
        self.stack.pop().ok_or_else(|| "too few values".to_owned())
    }

    fn pop_text(&mut self) -> Result<String> {
        let number = self.pop()?;
        match &self.values[number] {
            Value::Text(text) => Ok(text.clone()),
            _ => Err("a class without a name".into()),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<usize>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self
            .stack
            .split_off(mark.ok_or("a list without a beginning")?))
    }

    fn decimal(&mut self) -> Result<()> {
        let line = self.line()?;
        let number = line.trim_end_matches('L').parse();
        let number = number.map_err(|_| "a number that is none".to_owned())?;
        self.push(Value::Number(number));
        Ok(())
    }

    /// A whole number of up to eight bytes, little endian.
    fn long(&mut self) -> Result<()> {
        let length = usize::from(self.byte()?);
        if length > 8 {
            return Err("a number of more than 64 bits".into());
        }
        let bytes = self.take(length)?;
        let sign = bytes.last().is_some_and(|&last| last >= 0x80);
        let mut whole = [if sign { 0xff } else { 0 }; 8];
        whole[..length].copy_from_slice(bytes);
        self.push(Value::Number(i64::from_le_bytes(whole) as f64));
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let length = usize::try_from(length).map_err(|_| "a text without end")?;
        let text = self.take(length)?;
        // Python 2 wrote bytes, of which the official code reads the same characters.
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => text.iter().copied().map(char::from).collect(),
        };
        self.push(Value::Text(text));
        Ok(())
    }

    /// A text as protocol 0 writes it: for words, within quotation marks at most.
    fn written(&mut self) -> Result<()> {
        let line = self.line()?;
        let bare = |mark| line.strip_prefix(mark)?.strip_suffix(mark);
        let text = bare('\'').or_else(|| bare('"')).unwrap_or(&line);
        if text.contains('\\') {
            return Err("a text with escapes, which is read from protocol 1 on,".into());
        }
        let text = text.to_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let start = self.stack.len().checked_sub(length);
        let items = self.stack.split_off(start.ok_or("too few values")?);
        self.push(Value::Tuple(items));
        Ok(())
    }

    /// Puts keys and values, in turn, into the dictionary that is on top.
    fn set(&mut self, items: &[usize]) -> Result<()> {
        let top = self.stack.last().map(|&top| &mut self.values[top]);
        let Some(Value::Dict(entries)) = top else {
            return Err("entries without a dictionary".into());
        };
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn class(&mut self, module: &str, name: &str) -> Result<()> {
        let class = match (module, name) {
            ("collections", "defaultdict" | "OrderedDict") => Class::Dict,
            ("__builtin__" | "builtins", "dict") => Class::Dict,
            ("__builtin__" | "builtins", "float" | "int") => Class::Number,
            _ => return Err(format!("the class {module}.{name}, which is not built,")),
        };
        self.push(Value::Class(class));
        Ok(())
    }

    /// What is made by a call is an empty dictionary: without arguments, or with the class of the
    /// numbers that it counts with.
    fn call(&mut self) -> Result<()> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        let (class, arguments) = (&self.values[class], &self.values[arguments]);
        let (Value::Class(Class::Dict), Value::Tuple(arguments)) = (class, arguments) else {
            return Err("a call of something else than a dictionary".into());
        };
        let number = |&at: &usize| matches!(self.values[at], Value::Class(Class::Number));
        if !arguments.iter().all(number) {
            return Err("a dictionary made of something".into());
        }
        self.push(Value::Dict(Vec::new()));
        Ok(())
    }

    fn place(&mut self) -> Result<u64> {
        let line = self.line()?;
        line.parse().map_err(|_| "a place that is no number".into())
    }

    fn keep(&mut self, place: u64) -> Result<()> {
        let top = *self.stack.last().ok_or("too few values")?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<()> {
        let number = *self.memo.get(&place).ok_or("a value that is not there")?;
        self.stack.push(number);
        Ok(())
    }
}
