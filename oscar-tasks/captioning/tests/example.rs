//! The example `caption`, run: two images, one opening of the weights.

#[path = "../examples/caption.rs"]
mod caption;
#[path = "../../task/tests/support/mod.rs"]
mod support;

use oscar_captioning::Captioning;
use oscar_core::model::OscarForCaptioning;

#[test]
fn two_images_are_described() {
    let place = tempfile::tempdir().unwrap();
    support::write_store(&place.path().join("store"));
    let mut task = Captioning {
        max_caption_length: 12,
        ..Captioning::default()
    };
    task.generation.max_length = 8;
    let checkpoint = place.path().join("checkpoint");
    support::write_checkpoint(&checkpoint, task, OscarForCaptioning::new);
    let printed = support::output(caption::run, place.path(), &["0", "1"]);
    let lines: Vec<&str> = printed.lines().collect();
    // An image and its three best captions.
    assert_eq!(lines.len(), 8, "{printed}");
    assert_eq!([lines[0], lines[4]], ["0", "1"]);
    let score = |line: &&str| {
        line.trim()
            .split(' ')
            .next()
            .unwrap()
            .parse::<f32>()
            .unwrap()
    };
    for captions in [&lines[1..4], &lines[5..8]] {
        let scores: Vec<f32> = captions.iter().map(score).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{printed}");
    }
}
