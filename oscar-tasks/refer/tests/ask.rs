//! An expression that is asked about: the boxes that answer it, and what cannot be asked.

#[path = "../../task/tests/support/mod.rs"]
#[allow(dead_code, reason = "examples print, this does not")]
mod support;

use burn_flex::{Flex, FlexDevice};
use oscar_core::model::OscarForReferring;
use oscar_datasets::{look_up, open_images};
use oscar_refer::Refer;
use oscar_task::{Ask, Opened, Predictor, TaskError};

#[test]
fn an_expression_needs_words_and_one_image() {
    let place = tempfile::tempdir().unwrap();
    let (store, weights) = (place.path().join("store"), place.path().join("weights"));
    support::write_store(&store);
    support::write_checkpoint(&weights, Refer::default(), OscarForReferring::new);
    let model = Opened::<Refer, Flex>::open(&weights, &FlexDevice).unwrap();
    let image = look_up(&open_images(&store).unwrap(), "0").unwrap();
    let ask = |text: &str, images: usize| {
        let images = vec![image.clone().into(); images];
        let text = Some(text.to_string());
        model.ask(&[Ask {
            text,
            images,
            top: 5,
        }])
    };
    let answers = ask("red dog", 1).unwrap().remove(0);
    assert_eq!(answers.len(), 2);
    let sum: f32 = answers.iter().map(|answer| answer.score).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{answers:?}");
    for answer in &answers {
        let place = answer.region.as_ref().unwrap().relative.unwrap();
        assert!(
            place.iter().all(|side| (0.0..=1.0).contains(side)),
            "{place:?}"
        );
    }
    for (text, images, named) in [("?!", 1, "no word"), ("red dog", 2, "one image (got 2)")] {
        let refused = ask(text, images).unwrap_err();
        assert!(matches!(refused, TaskError::Question(_)), "{refused}");
        assert!(refused.to_string().contains(named), "{refused}");
    }
}
