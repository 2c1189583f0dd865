//! Which words are sampled from.

/// Sets the logits of filtered words to minus infinity, as the official code does.
///
/// Keeps the `top_k` best words (0: all) and those that equal the last of them; of these, the best
/// that together have the probability `top_p`, including the one that reaches it. Each of the two
/// filters keeps at least `keep` words.
pub fn top_k_top_p(logits: &mut [f32], top_k: usize, top_p: f64, keep: usize) {
    if top_k > 0 && top_k.max(keep) < logits.len() {
        let mut sorted = logits.to_vec();
        let nth = top_k.max(keep) - 1;
        let (_, last, _) = sorted.select_nth_unstable_by(nth, |a, b| b.total_cmp(a));
        let last = *last;
        for logit in logits.iter_mut().filter(|logit| **logit < last) {
            *logit = f32::NEG_INFINITY;
        }
    }
    if top_p >= 1.0 {
        return;
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let Some(best) = order.first().map(|best| f64::from(logits[*best])) else {
        return;
    };
    let weight = |logit: f32| (f64::from(logit) - best).exp();
    let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
    // With `keep` above 1, that many are kept besides the one that reaches the probability.
    let surely = if keep > 1 { keep + 1 } else { 1 };
    let mut before = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        let own = weight(logits[at]) / total;
        if rank >= surely && before > top_p {
            logits[at] = f32::NEG_INFINITY;
        }
        before += own;
    }
}
