//! How two texts share one sequence: `[CLS] A [SEP] B [SEP]`, cut to a length.

use super::tokenizer::SpecialIds;

/// The lengths to which texts of `len_a` and `len_b` tokens are cut when at most `max` fit.
///
/// The official rule pops one token at a time from the end of the longer text, and from B when both
/// are equally long. In closed form: the longer text first loses what it has more, then both shrink
/// in turn, B first.
fn truncated_lengths(len_a: usize, len_b: usize, max: usize) -> (usize, usize) {
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

/// Input ids and token types of `a` and `b` in at most `max_length` tokens, special ones included:
/// `[CLS] A [SEP]` of type 0 and `B [SEP]` of type 1, or `[CLS] A [SEP]` alone where there is no B.
///
/// From a `max_length` of 5 on, each text that has a token keeps one.
pub(super) fn lay_out(
    a: &[u32],
    b: &[u32],
    special: SpecialIds,
    max_length: usize,
) -> (Vec<u32>, Vec<u8>) {
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
    (input_ids, token_type_ids)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SPECIAL: SpecialIds = SpecialIds {
        pad: 0,
        unk: 1,
        cls: 2,
        sep: 3,
        mask: 4,
    };

    /// The official loop.
    fn popped(mut a: VecDeque<u32>, mut b: VecDeque<u32>, max: usize) -> (usize, usize) {
        while a.len() + b.len() > max {
            if a.len() > b.len() {
                a.pop_back();
            } else {
                b.pop_back();
            }
        }
        (a.len(), b.len())
    }

    proptest! {
        #[test]
        fn truncation_pops_from_the_longer_text(
            a in 0_usize..80,
            b in 0_usize..80,
            max in 0_usize..100,
        ) {
            let tokens = |len: usize| (0..len as u32).collect();
            prop_assert_eq!(truncated_lengths(a, b, max), popped(tokens(a), tokens(b), max));
        }

        #[test]
        fn a_pair_has_the_official_layout(a in 1_usize..60, b in 0_usize..60, max in 5_usize..40) {
            let text_a: Vec<u32> = (100..100 + a as u32).collect();
            let text_b: Vec<u32> = (200..200 + b as u32).collect();
            let (ids, types) = lay_out(&text_a, &text_b, SPECIAL, max);
            prop_assert!(ids.len() <= max);
            let specials = if b == 0 { 2 } else { 3 };
            let (len_a, len_b) = truncated_lengths(a, b, max - specials);
            prop_assert!(len_a >= 1);
            let mut wanted = vec![SPECIAL.cls];
            wanted.extend(&text_a[..len_a]);
            wanted.push(SPECIAL.sep);
            let mut wanted_types = vec![0; len_a + 2];
            if b > 0 {
                wanted.extend(&text_b[..len_b]);
                wanted.push(SPECIAL.sep);
                wanted_types.resize(len_a + len_b + 3, 1);
            }
            prop_assert_eq!(ids, wanted);
            prop_assert_eq!(types, wanted_types);
            // Nothing is cut while it fits.
            if a + b + 3 <= max {
                prop_assert_eq!((len_a, len_b), (a, b));
            }
        }
    }

    #[test]
    fn a_text_alone_has_room_for_one_token_more() {
        let text: Vec<u32> = (100..200).collect();
        let len_a = |b: &[u32]| {
            let (_, types) = lay_out(&text, b, SPECIAL, 35);
            types.iter().filter(|kind| **kind == 0).count() - 2
        };
        assert_eq!((len_a(&[]), len_a(&[7])), (33, 31));
    }
}
