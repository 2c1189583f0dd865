//! Hard negatives: the captions and images that the model takes most for a match.

use std::path::Path;
use std::sync::Arc;

use crate::common::{APPEARANCE, Place, encoder};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionRestriction, ExampleSeed, SequenceEncoder};
use oscar_core::model::{OscarClassifier, initialize};
use oscar_retrieval::{Negatives, Retrieval, RetrievalData, score_pairs};
use oscar_task::{ClassData, Classify, Role, Target, Task, TaskData, Training};
use oscar_train::Epoch;

const CAPTIONS: [&str; 4] = [
    "a red dog",
    "two cat on grass",
    "blue bird sits",
    "a green tree",
];

fn words() -> SequenceEncoder {
    encoder(AttentionRestriction::Clr, 16)
}

fn model(seed: u64) -> OscarClassifier<Flex> {
    let config = ModelConfig {
        vocab_size: words().tokenizer().vocab_size(),
        img_feature_dim: APPEARANCE + 6,
        hidden_size: 16,
        num_attention_heads: 2,
        num_hidden_layers: 1,
        intermediate_size: 16,
        initializer_range: 0.5,
        num_labels: 2,
        loss_type: "ce".into(),
        ..ModelConfig::tiny()
    };
    let model = OscarClassifier::new(&config, &FlexDevice);
    initialize(&model, &FlexDevice, seed);
    model
}

fn task() -> Retrieval {
    Retrieval {
        negatives: Negatives::Hard,
        hard_candidates: 3,
        hard_kept: 1,
        ..Retrieval::default()
    }
}

/// Four images with a caption each.
fn open(place: &Place, role: Role) -> Arc<RetrievalData> {
    let rows: String = CAPTIONS
        .iter()
        .enumerate()
        .map(|(at, text)| {
            format!(
                "{{\"image\": \"{}\", \"captions\": [\"{text}\"]}}\n",
                at + 1
            )
        })
        .collect();
    let path = place.write("captions.jsonl", rows);
    Arc::new(task().open(&place.split(&path), role, &words()).unwrap())
}

fn training<'a>(data: &'a Arc<RetrievalData>, cache: &'a Path) -> Training<'a, RetrievalData> {
    Training {
        data,
        cache,
        batch_size: 4,
        seed: 1,
    }
}

/// What an example is made of: ids and key of the image of each pair.
fn pairs(data: &RetrievalData, example: usize, epoch: u64) -> Vec<(Vec<u32>, String)> {
    let rows = data
        .example(example, ExampleSeed { seed: 1, epoch })
        .unwrap();
    let classes: Vec<_> = rows.iter().filter_map(|row| row.target.clone()).collect();
    assert_eq!(classes, [1, 0, 0].map(Target::Class));
    let pair = |row: &oscar_task::EncodedRow| {
        let sequence = &row.sequences[0];
        let text = sequence.positions_a();
        (
            sequence.input_ids[text].to_vec(),
            sequence.regions[0].0.image_key(),
        )
    };
    rows.iter().map(pair).collect()
}

#[test]
fn they_are_the_ones_that_score_highest_and_survive_a_resume() {
    let place = Place::new(4);
    let cache = place.path("cache");
    let (data, network) = (open(&place, Role::Train), model(1));
    assert_eq!((data.rows_per_example(), data.len()), (3, 4));
    assert_eq!(data.row_weights(), Some(&[2.0, 1.0, 1.0][..]));
    let search = task()
        .before_epoch::<Flex>(&training(&data, &cache))
        .unwrap();
    let begins = |number| Epoch {
        number,
        begins: true,
    };
    search(begins(0), &network).unwrap();

    let all = open(&place, Role::Evaluate);
    let mut keep = |_: &[f32], _: usize| Ok(());
    let scored = score_pairs(&network, &all, 4, Vec::new(), &mut keep, &FlexDevice);
    let scores = scored.unwrap().0;
    let hardest = |of: &dyn Fn(usize) -> f32, own: usize| {
        let others = (0..4).filter(|other| *other != own);
        others.max_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap()
    };
    let found: Vec<_> = (0..4).map(|example| pairs(&data, example, 0)).collect();
    for (own, found) in found.iter().enumerate() {
        let text = hardest(&|other| scores[own * 4 + other], own);
        let image = hardest(&|other| scores[other * 4 + own], own);
        let ids = |caption: usize| words().tokenizer().encode(CAPTIONS[caption]);
        let key = |image: usize| (image + 1).to_string();
        assert_eq!(found[0], (ids(own), key(own)));
        assert_eq!(found[1], (ids(text), key(own)));
        assert_eq!(found[2], (ids(own), key(image)));
    }

    // Other weights in the middle of the epoch do not change its lists.
    let resumed = open(&place, Role::Train);
    let again = task()
        .before_epoch::<Flex>(&training(&resumed, &cache))
        .unwrap();
    let goes_on = Epoch {
        number: 0,
        begins: false,
    };
    again(goes_on, &model(2)).unwrap();
    let resumed: Vec<_> = (0..4).map(|example| pairs(&resumed, example, 0)).collect();
    assert_eq!(resumed, found);
    // Those of the next epoch do.
    search(begins(1), &model(3)).unwrap();
    assert_eq!(pairs(&data, 0, 1)[0], found[0][0]);

    // Who waits for lists of a run that has ended hears of it.
    drop(search);
    let waiting = data.example(0, ExampleSeed { seed: 1, epoch: 2 });
    assert!(waiting.unwrap_err().to_string().contains("epoch 2"));
}

#[test]
fn random_negatives_need_no_search() {
    let place = Place::new(4);
    let data = open(&place, Role::Validate);
    let cache = place.path("cache");
    assert!(
        task()
            .before_epoch::<Flex>(&training(&data, &cache))
            .is_none()
    );
    assert!(data.row_weights().is_none());
}
