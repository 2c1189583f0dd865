//! Shares with how sure they are.

use serde::Serialize;

/// 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959964;

/// How many were right of how many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Right ones among all.
    pub share: f64,
    /// 95 % confidence interval. What belongs to one caption is not independent, so the captions
    /// are what was sampled.
    pub interval: [f64; 2],
    /// How many there were.
    pub of: usize,
    /// Groups (captions) they came in.
    pub groups: usize,
}

/// Counts by group.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    groups: Vec<(f64, f64)>,
}

impl Tally {
    /// A group with `right` of `of`; an empty one tells nothing.
    pub(crate) fn add(&mut self, right: f64, of: usize) {
        if of > 0 {
            self.groups.push((right, of as f64));
        }
    }

    /// The share over all groups, with Wilson's interval for as many independent answers as tell
    /// as much as the groups do.
    pub(crate) fn share(&self) -> Share {
        let right: f64 = self.groups.iter().map(|(right, _)| right).sum();
        let of: f64 = self.groups.iter().map(|(_, of)| of).sum();
        let share = if of > 0.0 { right / of } else { 0.0 };
        let spread: f64 = self
            .groups
            .iter()
            .map(|(right, of)| (right - share * of).powi(2))
            .sum();
        let variance = spread / (of * of);
        let worth = match variance > 0.0 {
            true => (share * (1.0 - share) / variance).min(of),
            false => self.groups.len() as f64,
        };
        Share {
            share,
            interval: wilson(share, worth),
            of: of as usize,
            groups: self.groups.len(),
        }
    }
}

/// Wilson's 95 % interval of a share among `of` independent answers.
fn wilson(share: f64, of: f64) -> [f64; 2] {
    if of <= 0.0 {
        return [0.0, 1.0];
    }
    let z2 = Z * Z / of;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z * (share * (1.0 - share) / of + z2 / (4.0 * of)).sqrt() / (1.0 + z2);
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_groups(groups: &[(f64, usize)]) -> Share {
        let mut tally = Tally::default();
        groups.iter().for_each(|(right, of)| tally.add(*right, *of));
        tally.share()
    }

    #[test]
    fn single_answers_have_wilsons_interval() {
        // 8 of 10: (0.4902, 0.9433) in every table.
        let groups: Vec<_> = (0..10).map(|i| (f64::from(u8::from(i < 8)), 1)).collect();
        let share = of_groups(&groups);
        assert_eq!((share.share, share.of, share.groups), (0.8, 10, 10));
        assert!((share.interval[0] - 0.4902).abs() < 1e-4, "{share:?}");
        assert!((share.interval[1] - 0.9433).abs() < 1e-4, "{share:?}");
    }

    #[test]
    fn answers_that_stand_or_fall_together_count_once() {
        let alone: Vec<_> = (0..40).map(|i| (f64::from(u8::from(i < 20)), 1)).collect();
        let together: Vec<_> = (0..10)
            .map(|i| (f64::from(u8::from(i < 5)) * 4.0, 4))
            .collect();
        let (alone, together) = (of_groups(&alone), of_groups(&together));
        assert_eq!((alone.share, alone.of), (together.share, together.of));
        let width = |share: Share| share.interval[1] - share.interval[0];
        assert!(width(together) > 1.7 * width(alone));
    }

    #[test]
    fn certainty_is_never_claimed() {
        let all = of_groups(&[(3.0, 3), (2.0, 2)]);
        assert_eq!(all.share, 1.0);
        assert!(all.interval[0] < 0.5 && all.interval[1] == 1.0, "{all:?}");
        assert_eq!(of_groups(&[]).interval, [0.0, 1.0]);
    }
}
