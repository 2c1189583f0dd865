//! Cutting and laying out two texts.

use std::collections::VecDeque;

use oscar_core::input::{SpecialIds, TokenPair, truncated_lengths};
use proptest::prelude::*;

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
    fn truncation_pops_from_the_longer_text(a in 0_usize..80, b in 0_usize..80, max in 0_usize..100) {
        let tokens = |len: usize| (0..len as u32).collect();
        prop_assert_eq!(truncated_lengths(a, b, max), popped(tokens(a), tokens(b), max));
    }

    #[test]
    fn a_pair_has_the_official_layout(a in 1_usize..60, b in 0_usize..60, max in 5_usize..40) {
        let text_a: Vec<u32> = (100..100 + a as u32).collect();
        let text_b: Vec<u32> = (200..200 + b as u32).collect();
        let pair = TokenPair::new(&text_a, &text_b, SPECIAL, max);
        prop_assert!(pair.input_ids.len() <= max);
        prop_assert!(pair.len_a >= 1);
        prop_assert_eq!(&pair.input_ids[pair.positions_a()], &text_a[..pair.len_a]);
        prop_assert_eq!(pair.input_ids[0], SPECIAL.cls);
        prop_assert_eq!(pair.input_ids[pair.len_a + 1], SPECIAL.sep);
        let mut types = vec![0; pair.len_a + 2];
        if b > 0 {
            prop_assert_eq!(&pair.input_ids[pair.positions_b()], &text_b[..pair.len_b]);
            prop_assert_eq!(pair.input_ids.last(), Some(&SPECIAL.sep));
            types.resize(pair.len_a + pair.len_b + 3, 1);
        } else {
            prop_assert!(pair.positions_b().is_empty());
        }
        prop_assert_eq!(pair.token_type_ids, types);
        // Nothing is cut while it fits.
        if a + b + 3 <= max {
            prop_assert_eq!((pair.len_a, pair.len_b), (a, b));
        }
    }
}

#[test]
fn a_text_alone_has_room_for_one_token_more() {
    let text: Vec<u32> = (100..200).collect();
    assert_eq!(TokenPair::new(&text, &[], SPECIAL, 35).len_a, 33);
    assert_eq!(TokenPair::new(&text, &[7], SPECIAL, 35).len_a, 31);
}
