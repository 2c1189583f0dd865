//! Scores of a ranking: pairs of a score and whether it should be high.

/// Area under the ROC curve: the probability that a right pair scores above a wrong one, ties
/// counting one half. `None` unless there are both.
pub fn roc_auc(scored: &[(f32, bool)]) -> Option<f64> {
    let (mut wins, mut below) = (0.0, 0.0);
    for (right, wrong) in groups(scored, f32::total_cmp) {
        wins += right * (below + wrong / 2.0);
        below += wrong;
    }
    let right = scored.iter().filter(|(_, label)| *label).count() as f64;
    let wrong = scored.len() as f64 - right;
    (right > 0.0 && wrong > 0.0).then(|| wins / (right * wrong))
}

/// Average precision: the mean, over right pairs, of the precision among all pairs that score at
/// least as high. `None` unless there is a right pair.
pub fn average_precision(scored: &[(f32, bool)]) -> Option<f64> {
    let (mut sum, mut right_so_far, mut so_far) = (0.0, 0.0, 0.0);
    for (right, wrong) in groups(scored, |a, b| b.total_cmp(a)) {
        right_so_far += right;
        so_far += right + wrong;
        sum += right * right_so_far / so_far;
    }
    (right_so_far > 0.0).then(|| sum / right_so_far)
}

/// Counts of right and wrong pairs at each score, in the order of `compare`.
fn groups(
    scored: &[(f32, bool)],
    compare: impl Fn(&f32, &f32) -> std::cmp::Ordering,
) -> Vec<(f64, f64)> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| compare(&a.0, &b.0));
    sorted
        .chunk_by(|a, b| a.0 == b.0)
        .map(|tied| {
            let right = tied.iter().filter(|(_, label)| *label).count();
            (right as f64, (tied.len() - right) as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_by_definition() {
        let scored = [(0.1, false), (0.4, false), (0.35, true), (0.8, true)];
        assert_eq!(roc_auc(&scored), Some(0.75));
        let precision = average_precision(&scored).unwrap();
        assert!((precision - 5.0 / 6.0).abs() < 1e-12, "{precision}");
    }

    #[test]
    fn ties_count_one_half() {
        let scored = [(0.5, false), (0.5, true), (0.5, true), (0.5, false)];
        assert_eq!(roc_auc(&scored), Some(0.5));
        assert_eq!(average_precision(&scored), Some(0.5));
    }

    #[test]
    fn one_class_has_no_curve() {
        assert_eq!(roc_auc(&[(0.5, true)]), None);
        assert_eq!(average_precision(&[(0.5, true)]), Some(1.0));
        assert_eq!(average_precision(&[(0.5, false)]), None);
        assert_eq!(roc_auc(&[]), None);
    }
}
