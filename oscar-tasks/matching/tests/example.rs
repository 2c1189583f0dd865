//! The example `match_pair`, run: two texts, one opening of the weights.

#[path = "../examples/match_pair.rs"]
mod match_pair;
#[path = "../../task/tests/support/mod.rs"]
mod support;

use burn_flex::{Flex, FlexDevice};
use oscar_core::model::OscarClassifier;
use oscar_datasets::{look_up, open_images};
use oscar_matching::Matching;
use oscar_task::{Ask, Opened, Predictor};

#[test]
fn two_texts_are_matched_as_the_predictor_matches_them() {
    let place = tempfile::tempdir().unwrap();
    let store = place.path().join("store");
    support::write_store(&store);
    let checkpoint = place.path().join("checkpoint");
    support::write_checkpoint(&checkpoint, Matching {}, OscarClassifier::new);
    let texts = ["a dog on grass", "two red dogs"];
    let args = ["1", texts[0], texts[1]];
    let printed = support::output(match_pair::run, place.path(), &args);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 2, "{printed}");

    let model = Opened::<Matching, Flex>::open(&checkpoint, &FlexDevice).unwrap();
    let image = look_up(&open_images(&store).unwrap(), "1").unwrap();
    let asks = texts.map(|text| Ask {
        text: Some(text.into()),
        images: vec![image.clone().into()],
        top: 2,
    });
    for ((line, answers), text) in lines.iter().zip(model.ask(&asks).unwrap()).zip(texts) {
        let matched = answers
            .iter()
            .find(|answer| answer.text == "match")
            .unwrap();
        let (score, printed) = line.split_once("  ").unwrap();
        assert_eq!(printed, text);
        let score: f32 = score.parse().unwrap();
        assert!((score - matched.score).abs() < 1e-3, "{line}: {answers:?}");
    }
}
