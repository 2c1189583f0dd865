//! The selected boxes, their features and attributes.

use oscar_core::ops::Kernels;
use oscar_vision::detector::{Detection, Detector, Prepared};
use oscar_vision::relative_box;

use super::{Like, rows, vector};
use crate::check::Checks;
use crate::detector_ops::of_rects;
use crate::host::HostTensor;

/// Positions in a list as the numbers of the set, which count from `first`.
pub(super) fn ids(checks: &mut Checks, name: &str, got: &[usize], first: usize) {
    let Some(expected) = checks.expected.find(name).cloned() else {
        return;
    };
    let got: Vec<f64> = got.iter().map(|id| (id + first) as f64).collect();
    checks.exact_tensor(name, &got, &expected.data);
}

/// Rows `keep` of a table.
pub(super) fn kept(values: &[f32], width: usize, keep: &[usize]) -> HostTensor {
    let rows_of = keep.iter().flat_map(|at| &values[at * width..][..width]);
    rows(&rows_of.copied().collect::<Vec<_>>(), keep.len())
}

/// Boxes, their six values, and features with these.
pub(super) fn final_boxes(
    checks: &mut Checks,
    like: &Like<'_>,
    found: &Detection,
    picture: &Prepared,
) {
    like.check(checks, "boxes", &of_rects(&found.boxes));
    let [height, width] = picture.original;
    let six: Vec<[f32; 6]> = found
        .boxes
        .iter()
        .map(|b| relative_box(*b, width, height))
        .collect();
    like.check(checks, "spatial", &rows(&six.concat(), six.len()));
    let four: Vec<f32> = six
        .iter()
        .flat_map(|values| &values[..4])
        .copied()
        .collect();
    like.check(checks, "normalized_boxes", &rows(&four, six.len()));
    let width = found.features.len() / found.proposals.boxes.len().max(1);
    let joined = found.selected.keep.iter().zip(&six).flat_map(|(at, six)| {
        let features = &found.features[at * width..][..width];
        features.iter().chain(six).copied()
    });
    like.check(
        checks,
        "oscar_features",
        &rows(&joined.collect::<Vec<_>>(), six.len()),
    );
}

pub(super) fn frcnn(checks: &mut Checks, like: &Like<'_>, found: &Detection, picture: &Prepared) {
    let (prefix, selected) = (like.prefix, &found.selected);
    ids(checks, &format!("{prefix}.keep"), &selected.keep, 0);
    ids(checks, &format!("{prefix}.obj_ids"), &selected.classes, 0);
    let scores = vector(selected.scores.iter().map(|score| f64::from(*score)));
    like.check(checks, "obj_probs", &scores);
    let best: Vec<(usize, f32)> = found.attributes.iter().map(|of_box| of_box[0]).collect();
    let names: Vec<usize> = best.iter().map(|(at, _)| *at).collect();
    ids(checks, &format!("{prefix}.attr_ids"), &names, 0);
    like.check(
        checks,
        "attr_probs",
        &vector(best.iter().map(|(_, score)| f64::from(*score))),
    );
    let width = found.features.len() / found.proposals.boxes.len().max(1);
    let features = kept(&found.features, width, &selected.keep);
    like.check(checks, "roi_features", &features);
    final_boxes(checks, like, found, picture);
}

/// What VinVL's detector gives under one mode.
pub(super) fn vinvl<B: Kernels>(
    checks: &mut Checks,
    prefix: &str,
    detector: &Detector<B>,
    found: &Detection,
    picture: &Prepared,
) {
    let selected = &found.selected;
    let like = Like { prefix, kind: "" };
    ids(checks, &format!("{prefix}.keep"), &selected.keep, 0);
    ids(checks, &format!("{prefix}.labels"), &selected.classes, 1);
    let scores = vector(selected.scores.iter().map(|score| f64::from(*score)));
    like.check(checks, "scores", &scores);
    like.check(checks, "boxes_net", &of_rects(&selected.boxes));
    let width = found.features.len() / found.proposals.boxes.len().max(1);
    like.check(
        checks,
        "box_features",
        &kept(&found.features, width, &selected.keep),
    );
    like.check(
        checks,
        "attr_logits",
        &rows(&found.attribute_logits, selected.keep.len()),
    );
    let most = detector.config().selection.attributes_per_box;
    let mut labels = Vec::new();
    let mut scores = Vec::new();
    for of_box in &found.attributes {
        let missing = most - of_box.len();
        labels.extend(of_box.iter().map(|(at, _)| (at + 1) as f64));
        labels.extend(std::iter::repeat_n(-1.0, missing));
        scores.extend(of_box.iter().map(|(_, score)| f64::from(*score)));
        scores.extend(std::iter::repeat_n(0.0, missing));
    }
    let name = format!("{prefix}.attr_labels");
    if let Some(expected) = checks.expected.find(&name).cloned() {
        checks.exact_tensor(&name, &labels, &expected.data);
    }
    let shape = vec![found.attributes.len(), most];
    like.check(
        checks,
        "attr_scores",
        &HostTensor {
            shape,
            data: scores,
        },
    );
    final_boxes(checks, &like, found, picture);
}
