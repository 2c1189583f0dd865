//! The longer recipes of scenes: minutes each, so they are run by hand.

use rstest::rstest;

use crate::miniatures::is_learned_from_scenes;

/// Measured (own, other scene): VQA 0.842, 0.267; GQA 0.791, 0.326; NLVR2 0.936, 0.497.
#[rstest]
#[case::vqa("vqa", 0.75, 0.40)]
#[case::gqa("gqa", 0.70, 0.30)]
#[case::nlvr2("nlvr2", 0.88, 0.35)]
#[ignore = "minutes each; run by hand"]
fn questions_and_statements_about_scenes_are_learned(
    #[case] task: &str,
    #[case] floor: f64,
    #[case] margin: f64,
) {
    is_learned_from_scenes(task, "accuracy", floor, margin);
}
