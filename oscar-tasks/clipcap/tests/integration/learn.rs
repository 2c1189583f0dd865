//! A small model learns captions from embeddings, is asked, inspected and scored; every method writes.

use crate::common;

use burn_flex::{Flex, FlexDevice};
use common::{Place, config, finetune_config};
use oscar_clipcap::{Captioning, ClipCapConfig, MappingType, Method};
use oscar_core::input::RegionHandle;
use oscar_datasets::open_images;
use oscar_task::explain::Choice;
use oscar_task::{Ask, Explain, Opened, Predictor, Role};
use rstest::rstest;

#[rstest]
#[case::mlp(MappingType::Mlp, false)]
#[case::mlp_with_frozen_gpt2(MappingType::Mlp, true)]
#[case::transformer(MappingType::Transformer, false)]
fn captions_are_learned_from_embeddings(#[case] mapping_type: MappingType, #[case] frozen: bool) {
    let place = Place::new(24, 8);
    let model = ClipCapConfig {
        mapping_type,
        only_prefix: frozen,
        ..config(8)
    };
    let mut recipe = finetune_config(&place, model.clone());
    recipe.train.steps = if frozen { 40 } else { 250 };
    recipe.train.validate_every = recipe.train.steps;
    recipe.train.save_every = recipe.train.steps;
    let report = place.finetune(recipe).unwrap();
    let evaluation = report.evaluation.expect("it was scored");
    let score = |name: &str| {
        let found = evaluation.scores.iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    };
    let best = report.directory.join("best");
    let opened = Opened::<Captioning, Flex>::open(&best, &FlexDevice).unwrap();
    let images = open_images(&place.path("embeddings")).unwrap();
    let ask = |row: usize| Ask {
        images: vec![
            (
                String::new(),
                RegionHandle::new(images.clone(), row).unwrap(),
            )
                .into(),
        ],
        top: 2,
        ..Ask::default()
    };
    let answers = opened.ask(&[ask(0), ask(1), ask(2)]).unwrap();
    assert!(answers.iter().all(|found| found.len() == 2));
    assert!(answers[0][0].score >= answers[0][1].score);
    // A random GPT-2 that stays as it is says little; the others know the pictures by heart.
    if !frozen {
        assert!(score("Exact") > 0.9, "{:?}", evaluation.scores);
        for (row, found) in answers.iter().enumerate() {
            let expected = common::caption(row);
            assert_eq!(found[0].text, format!("{expected}."));
        }
        let table = &evaluation.tables[0];
        let of = |source: &str| {
            let row = table.rows.iter().find(|(name, ..)| name == source);
            row.unwrap_or_else(|| panic!("no {source}: {table:?}")).1
        };
        assert!(of("its own embedding") > of("another image's embedding") + 1.0);
    }
    let explanation = opened.explain(&ask(0)).unwrap();
    let [sequence] = &explanation.sequences[..] else {
        panic!("one sequence");
    };
    assert_eq!(sequence.attention.len(), model.gpt2.n_layer);
    let positions = sequence.len();
    for layer in &sequence.attention {
        assert_eq!(layer.len(), positions * positions);
        for row in layer.chunks(positions) {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{row:?}");
        }
    }
    let data = opened.open_split(&place.split(), Role::Evaluate).unwrap();
    let choice = Choice {
        examples: 2,
        attended: 1,
        top: 1,
    };
    let exhibits = Captioning::exhibits(&opened, &data, &choice).unwrap();
    assert_eq!(exhibits.len(), 2);
    assert_eq!(exhibits[0].truth, [common::caption(0)]);
}

#[test]
fn every_method_writes_captions() {
    let place = Place::new(4, 8);
    let weights = place.imported(&config(8));
    let mut opened = Opened::<Captioning, Flex>::open(&weights, &FlexDevice).unwrap();
    let images = open_images(&place.path("embeddings")).unwrap();
    let asks: Vec<Ask> = (0..4)
        .map(|row| Ask {
            images: vec![
                (
                    String::new(),
                    RegionHandle::new(images.clone(), row).unwrap(),
                )
                    .into(),
            ],
            top: 1,
            ..Ask::default()
        })
        .collect();
    opened.checkpoint.task.generation.max_tokens = 9;
    let mut write = |method| {
        opened.checkpoint.task.generation.method = method;
        let answers = opened.ask(&asks).unwrap();
        let texts = answers.into_iter().map(|mut found| found.remove(0).text);
        texts.collect::<Vec<String>>()
    };
    let greedy = write(Method::Greedy);
    assert_eq!(greedy, write(Method::OfficialNucleus));
    assert_eq!(write(Method::Sample), write(Method::Sample));
    for method in [Method::Beam, Method::OfficialBeam] {
        assert_eq!(write(method).len(), 4);
    }
}
