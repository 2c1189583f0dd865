//! N-grams of up to four words as numbers.

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};

/// The longest n-grams that BLEU and CIDEr count.
pub const MAX_ORDER: usize = 4;

/// Up to four words, 32 bits each, the last lowest. A word is its number plus one, so that n-grams
/// of different orders differ.
pub(crate) type Gram = u128;

/// How many words a gram has, less one.
pub(crate) fn order(gram: Gram) -> usize {
    (127 - gram.leading_zeros() as usize) / 32
}

/// Numbers of words.
#[derive(Debug, Default)]
pub(crate) struct Words {
    numbers: HashMap<Box<str>, u32>,
}

impl Words {
    pub fn number(&mut self, word: &str) -> u32 {
        if let Some(&number) = self.numbers.get(word) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(word.into(), number);
        number
    }

    pub fn find(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// The numbers of a caption's words, without remembering new ones: equal unknown words get equal
    /// numbers that no known word has.
    pub fn lookup<'w>(&self, words: impl Iterator<Item = &'w str>) -> Vec<u32> {
        let mut unknown: HashMap<&str, u32> = HashMap::new();
        let known = self.numbers.len() as u32;
        words
            .map(|word| match self.numbers.get(word) {
                Some(&number) => number,
                None => {
                    let next = known + unknown.len() as u32;
                    match unknown.entry(word) {
                        Entry::Occupied(entry) => *entry.get(),
                        Entry::Vacant(entry) => *entry.insert(next),
                    }
                }
            })
            .collect()
    }
}

/// All n-grams of a caption with how often each is in it, in the order of their numbers.
pub(crate) fn counted(words: &[u32]) -> Vec<(Gram, u32)> {
    let mut grams: Vec<Gram> = Vec::with_capacity(words.len() * MAX_ORDER);
    for start in 0..words.len() {
        let mut gram: Gram = 0;
        for &word in words[start..].iter().take(MAX_ORDER) {
            gram = gram << 32 | (Gram::from(word) + 1);
            grams.push(gram);
        }
    }
    grams.sort_unstable();
    let mut counts: Vec<(Gram, u32)> = Vec::with_capacity(grams.len());
    for gram in grams {
        match counts.last_mut() {
            Some((last, count)) if *last == gram => *count += 1,
            _ => counts.push((gram, 1)),
        }
    }
    counts
}
