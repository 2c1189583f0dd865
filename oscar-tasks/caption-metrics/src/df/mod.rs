//! Document frequencies: the number of images in whose references an n-gram occurs.

mod json;
mod pickle;

use std::collections::hash_map::Entry;
use std::path::Path;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use oscar_files::{FileError, TextFile};

use crate::error::Result;
use crate::ngrams::{Gram, MAX_ORDER, Words, counted};
use crate::ptb::words;

const FIX: &str = "give the document frequencies of the training set: `ref_len` and \
     `document_frequency`, as a pickle or as JSON";

/// Document frequencies of n-grams of up to four words.
#[derive(Debug, Default)]
pub struct DocumentFrequencies {
    pub(crate) words: Words,
    pub(crate) counts: HashMap<Gram, f64>,
    /// How many images were counted.
    pub(crate) images: f64,
}

impl DocumentFrequencies {
    /// Those of references, a list for each image.
    ///
    /// An n-gram counts once for an image, however many of its references have it.
    pub fn of<R, T>(references: &[R]) -> Self
    where
        R: AsRef<[T]>,
        T: AsRef<str>,
    {
        let mut found = Self {
            images: references.len() as f64,
            ..Self::default()
        };
        let mut here: HashSet<Gram> = HashSet::new();
        for image in references {
            here.clear();
            for text in image.as_ref() {
                let numbers = words(text.as_ref()).map(|word| found.words.number(word));
                let numbers: Vec<u32> = numbers.collect();
                here.extend(counted(&numbers).iter().map(|&(gram, _)| gram));
            }
            for &gram in &here {
                *found.counts.entry(gram).or_insert(0.0) += 1.0;
            }
        }
        found
    }

    /// Reads a file with `ref_len`, the number of images, and `document_frequency` by n-gram: a
    /// pickle as the official code writes it (n-grams are tuples of words; nothing in it is
    /// executed), or JSON (words separated by blanks), plain or gzip.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is neither, or has impossible counts.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = TextFile::open(path)?.bytes()?;
        Self::parse(bytes).map_err(|found| FileError::malformed(path, found, FIX).into())
    }

    /// [`read`](Self::read) for the content of a file; the error says what was found.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let frequencies = match first {
            Some(b'{') => json::parse(&bytes)?,
            Some(_) => pickle::parse(bytes)?,
            None => return Err("an empty file".into()),
        };
        frequencies.plausible()
    }

    /// How many n-grams are known.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether no n-gram is known.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Of the distinct words of `texts`, the share that was counted.
    ///
    /// Frequencies of another set, or of texts in another form, know few of them.
    pub fn known_words<'t>(&self, texts: impl Iterator<Item = &'t str>) -> f64 {
        let mut seen: HashMap<&str, bool> = HashMap::new();
        for word in texts.flat_map(words) {
            if let Entry::Vacant(entry) = seen.entry(word) {
                entry.insert(
                    self.words
                        .find(word)
                        .is_some_and(|number| self.counts.contains_key(&(Gram::from(number) + 1))),
                );
            }
        }
        let known = seen.values().filter(|&&known| known).count();
        known as f64 / seen.len().max(1) as f64
    }

    fn insert<'w>(
        &mut self,
        gram: impl Iterator<Item = &'w str>,
        count: f64,
    ) -> Result<(), String> {
        let mut key: Gram = 0;
        let mut order = 0;
        for word in gram {
            if order == MAX_ORDER {
                return Err(format!("an n-gram of more than {MAX_ORDER} words"));
            }
            key = key << 32 | (Gram::from(self.words.number(word)) + 1);
            order += 1;
        }
        if order == 0 {
            return Err("an n-gram without words".into());
        }
        if !(count.is_finite() && count >= 0.0) {
            return Err(format!("the frequency {count}"));
        }
        self.counts.insert(key, count);
        Ok(())
    }

    fn plausible(self) -> Result<Self, String> {
        let most = self.counts.values().fold(0.0f64, |most, &n| most.max(n));
        if !(self.images.is_finite() && self.images >= 1.0) {
            return Err(format!("`ref_len` is {}", self.images));
        }
        if most > self.images {
            let images = self.images;
            return Err(format!(
                "an n-gram is in {most} images, but `ref_len` is {images}"
            ));
        }
        match self.is_empty() {
            true => Err("no n-gram".into()),
            false => Ok(self),
        }
    }
}
