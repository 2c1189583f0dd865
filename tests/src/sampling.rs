//! The set of words that may be drawn.

use oscar_core::decode::top_k_top_p;

use crate::check::{Checks, Report};
use crate::set::Set;

/// Compares which logits are left of each row, and that they are as they were.
pub fn check(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let logits = inputs.get("logits")?;
    for name in checks.expected_under("") {
        let wrong = || format!("{name} is not k…_p…_keep…");
        let numbers: Vec<f64> = name
            .split('_')
            .map(|part| part.trim_start_matches(char::is_alphabetic).parse())
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        let [k, p, keep] = numbers[..] else {
            return Err(wrong());
        };
        let mut left: Vec<f32> = logits.data.iter().map(|value| *value as f32).collect();
        for row in left.chunks_mut(logits.last()) {
            top_k_top_p(row, k as usize, p, keep as usize);
        }
        let expected = checks.expected.get(&name)?.data.iter();
        let expected: Vec<f32> = expected.map(|value| *value as f32).collect();
        let row = logits.last();
        let kept = (kept(&left, row), kept(&expected, row));
        checks.exact_tensor(&name, &kept.0, &kept.1);
        let changed = left.iter().zip(&logits.data);
        let changed = changed.filter(|(left, own)| left.is_finite() && **left != **own as f32);
        checks.exact(&format!("{name}: changed"), &changed.count(), &0);
    }
    Ok(checks.finish())
}

/// The logits left of each row, sorted: which of equal ones stay, PyTorch's sorting decides.
fn kept(logits: &[f32], row: usize) -> Vec<Vec<f32>> {
    let rows = logits.chunks(row).map(|row| {
        let mut kept: Vec<f32> = row.iter().copied().filter(|x| x.is_finite()).collect();
        kept.sort_by(f32::total_cmp);
        kept
    });
    rows.collect()
}
