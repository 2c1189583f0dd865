//! The official scores.

use std::collections::{BTreeMap, HashMap};

use oscar_datasets::nlvr2::Identifier;

/// Share of right answers; `None` if there is none.
pub fn accuracy(right: impl IntoIterator<Item = bool>) -> Option<f64> {
    let (mut count, mut total) = (0usize, 0usize);
    for right in right {
        count += usize::from(right);
        total += 1;
    }
    (total > 0).then(|| count as f64 / total as f64)
}

/// Share of groups (set and sentence) whose every pair is answered rightly, and their number; as
/// the official script counts.
pub fn consistency<'a>(
    answers: impl IntoIterator<Item = (&'a Identifier, bool)>,
) -> Option<(f64, usize)> {
    let mut groups: HashMap<String, bool> = HashMap::new();
    for (identifier, right) in answers {
        *groups.entry(identifier.group()).or_insert(true) &= right;
    }
    let count = groups.len();
    Some((accuracy(groups.into_values())?, count))
}

/// Rows of the balanced and of the unbalanced subset, as in the official script: of the
/// image pairs that occur more than once, those with both labels are balanced, the others are not.
pub fn subsets(pairs: &[(&[String], bool)]) -> (Vec<usize>, Vec<usize>) {
    let mut same: BTreeMap<&[String], Vec<usize>> = BTreeMap::new();
    for (row, (images, _)) in pairs.iter().enumerate() {
        same.entry(images).or_default().push(row);
    }
    let (mut balanced, mut unbalanced) = (Vec::new(), Vec::new());
    for rows in same.into_values().filter(|rows| rows.len() > 1) {
        let both = rows.iter().any(|&row| pairs[row].1 != pairs[rows[0]].1);
        match both {
            true => balanced.extend(rows),
            false => unbalanced.extend(rows),
        }
    }
    (balanced, unbalanced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_of_pairs_that_occur_again() {
        let keys = |name: &str| vec![format!("{name}0"), format!("{name}1")];
        let (a, b, c, swapped) = (
            keys("a"),
            keys("b"),
            keys("c"),
            vec!["a1".into(), "a0".into()],
        );
        let rows: Vec<(&[String], bool)> = vec![
            (&a, true),
            (&b, true),
            (&c, false),
            (&a, false),
            (&b, true),
            (&swapped, false),
            (&a, true),
        ];
        assert_eq!(subsets(&rows), (vec![0, 3, 6], vec![1, 4]));
    }

    #[test]
    fn nothing_has_no_score() {
        assert_eq!(accuracy([]), None);
        assert_eq!(consistency([]), None);
    }
}
