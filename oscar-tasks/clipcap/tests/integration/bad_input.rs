//! What can be wrong with a ClipCap's data, weights and questions: one error each, which names it.

use crate::common;

use burn_flex::{Flex, FlexDevice};
use common::{Place, config, finetune_config, fixture, tokenizer};
use oscar_clipcap::data::pickle;
use oscar_clipcap::{Captioning, ClipCapConfig, ImportOptions, MappingType, Split, import};
use oscar_core::config::ConfigError;
use oscar_core::input::RegionHandle;
use oscar_datasets::open_images;
use oscar_task::{Ask, FinetuneError, Opened, Predictor, Role, Seen, Task, TaskError};

/// The key of a value that is out of range.
fn key(error: ConfigError) -> String {
    match error {
        ConfigError::Value { key, .. } => key,
        other => panic!("{other}"),
    }
}

#[test]
fn a_prefix_longer_than_the_context_is_refused() {
    let mut model = config(8);
    model.prefix_length = model.gpt2.n_positions;
    assert_eq!(key(model.validate().unwrap_err()), "prefix_length");
    // Captions need room behind the prefix.
    model.prefix_length = model.gpt2.n_positions - 20;
    let mut task = Captioning::default();
    task.generation.max_tokens = 21;
    let error = task.validate(&model, &Default::default()).unwrap_err();
    assert_eq!(key(error), "task.generation.max_tokens");
}

#[test]
fn a_configuration_that_names_no_language_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for (keys, is_one) in [("{}", false), (r#"{"gpt2": {}}"#, true)] {
        std::fs::write(&path, keys).unwrap();
        let read = ClipCapConfig::from_file(&path);
        let lacks =
            matches!(&read, Err(ConfigError::Incomplete { missing, .. }) if missing == &["gpt2"]);
        assert_eq!((read.is_ok(), lacks), (is_one, !is_one), "{keys}");
    }
}

#[test]
fn embeddings_of_another_clip_are_refused() {
    let place = Place::new(6, 8);
    let weights = place.imported(&config(8));
    let other = Place::new(6, 12);
    let opened = Opened::<Captioning, Flex>::open(&weights, &FlexDevice).unwrap();
    match opened.open_split(&other.split(), Role::Evaluate) {
        Err(TaskError::RegionDim { found, expected }) => assert_eq!((found, expected), (18, 14)),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
    let images = open_images(&other.path("embeddings")).unwrap();
    let ask = Ask {
        images: vec![(String::new(), RegionHandle::new(images, 0).unwrap()).into()],
        top: 1,
        ..Ask::default()
    };
    assert!(matches!(
        opened.ask(&[ask]),
        Err(TaskError::RegionDim { .. })
    ));
}

#[test]
fn a_vocabulary_that_does_not_fit_is_refused() {
    let place = Place::new(3, 8);
    let weights = place.imported(&config(8));
    // One token more than the model has.
    let path = weights.join("vocab.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = text.trim_end().strip_suffix('}').unwrap();
    let size = tokenizer().vocab_size();
    std::fs::write(&path, format!("{more}, \"zzzz\": {size}}}")).unwrap();
    match Opened::<Captioning, Flex>::open(&weights, &FlexDevice) {
        Err(TaskError::Model(error)) => assert_eq!(key(error), "gpt2.vocab_size"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
    for vocabulary in ["{\"a\": 0}", "[1]", "{\"a\": 7}"] {
        std::fs::write(&path, vocabulary).unwrap();
        let opened = Opened::<Captioning, Flex>::open(&weights, &FlexDevice);
        let error = opened.err().expect("it was opened").to_string();
        assert!(error.contains("vocab.json"), "{error}");
    }
}

#[test]
fn a_pickle_with_a_foreign_class_is_refused_and_named() {
    let place = Place::new(3, 8);
    let bytes = std::fs::read(fixture("clipcap_data/oscar_split_ViT-B_32_train.pkl")).unwrap();
    let (from, to) = (b"_rebuild_tensor_v2", b"_rebuild_tensor_v9");
    let mut windows = bytes.windows(from.len());
    let at = windows.position(|window| window == from).unwrap();
    let mut foreign = bytes.clone();
    foreign[at..at + to.len()].copy_from_slice(to);
    let path = place.write("foreign.pkl", &foreign);
    let error = pickle::open(&path).unwrap_err().to_string();
    assert!(error.contains("torch._utils._rebuild_tensor_v9"), "{error}");
    assert!(error.contains("foreign.pkl"), "{error}");

    // Cut short anywhere, it is an error and no panic.
    for length in (0..bytes.len()).step_by(41) {
        let path = place.write("cut.pkl", &bytes[..length]);
        assert!(pickle::open(&path).is_err(), "{length}");
    }
}

#[test]
fn a_pickle_has_its_embeddings_itself() {
    let split = Split {
        captions: Some(fixture("clipcap_data/oscar_split_ViT-B_32_train.pkl")),
        ..Split::default()
    };
    let task = Captioning::default();
    let data = task.open(&split, Role::Train, &tokenizer()).unwrap();
    assert_eq!((data.embedding_dim(), data.images().len()), (48, 3));
    let place = Place::new(3, 8);
    let both = Split {
        regions: Some(place.path("embeddings")),
        ..split
    };
    let error = task.open(&both, Role::Train, &tokenizer()).err().unwrap();
    assert!(error.to_string().contains("`regions`"), "{error}");
}

#[test]
fn a_picture_with_several_regions_is_refused() {
    let place = Place::with_regions(3, 8, 2);
    let error = Captioning::default().open(&place.split(), Role::Train, &tokenizer());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("image 0 has 2 regions"), "{error}");

    let weights = place.imported(&config(8));
    let opened = Opened::<Captioning, Flex>::open(&weights, &FlexDevice).unwrap();
    let images = open_images(&place.path("embeddings")).unwrap();
    let regions = || Seen::from((String::new(), RegionHandle::new(images.clone(), 0).unwrap()));
    let asks = [
        (None, vec![regions()]),
        (None, vec![Seen::Tags("a dog".into())]),
        (None, Vec::new()),
        (Some("what is it?".to_string()), vec![regions()]),
    ];
    for (text, images) in asks {
        let ask = Ask {
            text,
            images,
            top: 1,
        };
        assert!(matches!(opened.ask(&[ask]), Err(TaskError::Question(_))));
    }
}

#[test]
fn weights_of_the_other_mapping_type_are_refused() {
    let place = Place::new(6, 8);
    let transformer = ClipCapConfig {
        mapping_type: MappingType::Transformer,
        ..config(8)
    };
    let mut recipe = finetune_config(&place, config(8));
    recipe.init.checkpoint = Some(place.weights(&transformer));
    match place.finetune(recipe) {
        Err(FinetuneError::Data { key, source }) => {
            assert_eq!(key, "init.checkpoint");
            assert!(source.to_string().contains("transformer"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_clipcap_is_not_imported() {
    let place = Place::new(1, 8);
    let out = place.path("imported");
    let options = ImportOptions::default();
    let clip = fixture("clipcap_vit/openai_jit.pt");
    let error = import(&clip, &fixture("clipcap_tokenizer"), &options, &out).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("gpt.transformer.wte.weight"), "{error}");
    let weights = place.weights(&config(8));
    assert!(import(&weights, &place.path(""), &options, &out).is_err());
    // Not of the size of a released one, and whether embeddings are divided is not said.
    let error = import(&weights, &fixture("clipcap_tokenizer"), &options, &out).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("normalize_prefix"), "{error}");
    assert!(!out.exists());
}
