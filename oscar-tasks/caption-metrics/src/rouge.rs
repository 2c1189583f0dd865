//! ROUGE-L as the COCO caption evaluation computes it.

/// How much more recall weighs than precision.
const BETA: f64 = 1.2;

/// ROUGE-L of a tokenised candidate: the longest common subsequence with each reference, the
/// highest precision and the highest recall of all of them. 0 without references.
///
/// Words are what stands between single blanks, so an empty caption is one empty word, as in the
/// evaluation.
pub fn rouge_l(candidate: &str, references: &[impl AsRef<str>]) -> f64 {
    let candidate: Vec<&str> = candidate.split(' ').collect();
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    let mut row = Vec::new();
    for reference in references {
        let reference: Vec<&str> = reference.as_ref().split(' ').collect();
        let common = longest_common_subsequence(&candidate, &reference, &mut row) as f64;
        precision = precision.max(common / candidate.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    let weight = BETA * BETA;
    (1.0 + weight) * precision * recall / (recall + weight * precision)
}

fn longest_common_subsequence(a: &[&str], b: &[&str], row: &mut Vec<usize>) -> usize {
    row.clear();
    row.resize(b.len() + 1, 0);
    for word in a {
        let mut diagonal = 0;
        for (at, other) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = match word == other {
                true => diagonal + 1,
                false => above.max(row[at]),
            };
            diagonal = above;
        }
    }
    row[b.len()]
}
