//! How two texts share one sequence: `[CLS] A [SEP] B [SEP]`, cut to a length.

use super::tokenizer::SpecialIds;

/// What is left of `len_a` and `len_b` tokens when at most `max` fit.
///
/// The official rule pops one token at a time from the end of the longer text, and from B when both
/// are as long. In closed form: the longer text first gives up what it has more, then both shrink
/// in turn, B first.
pub fn truncated_lengths(len_a: usize, len_b: usize, max: usize) -> (usize, usize) {
    let excess = (len_a + len_b).saturating_sub(max);
    let from_longer = excess.min(len_a.abs_diff(len_b));
    let (mut len_a, mut len_b) = (len_a, len_b);
    if len_a > len_b {
        len_a -= from_longer;
    } else {
        len_b -= from_longer;
    }
    let rest = excess - from_longer;
    (len_a - rest / 2, len_b - rest.div_ceil(2))
}

/// Two texts as one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPair {
    /// `[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]` where there is no B.
    pub input_ids: Vec<u32>,
    /// 0 for `[CLS] A [SEP]`, 1 for `B [SEP]`.
    pub token_type_ids: Vec<u8>,
    /// Tokens kept of A; they start at position 1.
    pub len_a: usize,
    /// Tokens kept of B; they start at position `len_a + 2`.
    pub len_b: usize,
}

impl TokenPair {
    /// Lays out `a` and `b` in at most `max_length` tokens, special ones included.
    ///
    /// From a `max_length` of 5 on, each text that has a token keeps one.
    pub fn new(a: &[u32], b: &[u32], special: SpecialIds, max_length: usize) -> Self {
        let specials = if b.is_empty() { 2 } else { 3 };
        let room = max_length.saturating_sub(specials);
        let (len_a, len_b) = truncated_lengths(a.len(), b.len(), room);

        let mut input_ids = Vec::with_capacity(len_a + len_b + specials);
        input_ids.push(special.cls);
        input_ids.extend_from_slice(&a[..len_a]);
        input_ids.push(special.sep);
        let mut token_type_ids = vec![0; input_ids.len()];
        if !b.is_empty() {
            input_ids.extend_from_slice(&b[..len_b]);
            input_ids.push(special.sep);
            token_type_ids.resize(input_ids.len(), 1);
        }
        Self {
            input_ids,
            token_type_ids,
            len_a,
            len_b,
        }
    }

    /// Where A's tokens stand.
    pub fn positions_a(&self) -> std::ops::Range<usize> {
        1..1 + self.len_a
    }

    /// Where B's tokens stand; empty where there is no B.
    pub fn positions_b(&self) -> std::ops::Range<usize> {
        self.len_a + 2..self.len_a + 2 + self.len_b
    }
}
