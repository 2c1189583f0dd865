//! The example `ask`, run: two questions, one opening of the weights.

#[path = "../examples/ask.rs"]
mod ask;
#[path = "../../task/tests/support/mod.rs"]
mod support;

use oscar_core::model::OscarClassifier;
use oscar_vqa::Vqa;

#[test]
fn two_questions_are_answered() {
    let place = tempfile::tempdir().unwrap();
    let answers = place.path().join("words.json");
    std::fs::write(&answers, r#"["yes", "no", "red", "dog"]"#).unwrap();
    support::write_store(&place.path().join("store"));
    let task = Vqa {
        answers: Some(answers),
        ..Vqa::default()
    };
    let checkpoint = place.path().join("checkpoint");
    support::write_checkpoint(&checkpoint, task, OscarClassifier::new);
    let questions = ["is it a dog", "is it red"];
    let args = ["0", questions[0], questions[1]];
    let printed = support::output(ask::run, place.path(), &args);
    let lines: Vec<&str> = printed.lines().collect();
    // A question and its three best answers.
    assert_eq!(lines.len(), 8, "{printed}");
    assert_eq!([lines[0], lines[4]], questions);
    for answers in [&lines[1..4], &lines[5..8]] {
        let score = |line: &&str| {
            line.trim()
                .split(' ')
                .next()
                .unwrap()
                .parse::<f32>()
                .unwrap()
        };
        let scores: Vec<f32> = answers.iter().map(score).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{printed}");
    }
}
