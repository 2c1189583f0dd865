//! From a store to what is found in it, with weights that were never trained.

use crate::common;

use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use common::{Place, WIDTH, encoder};
use oscar_core::input::RegionHandle;
use oscar_core::model::dual_encoder::Side;
use oscar_datasets::{SharedImages, look_up};
use oscar_search::{
    Embedder, IndexError, Search, SearchData, Searcher, Vectors, build_index, open_embedder,
};
use oscar_task::ranks::{caption_ranks, image_ranks, recall};
use oscar_task::{
    Ask, EvaluateOptions, Explain, Opened, Predict, Role, Score, Seen, Task, TaskError,
};

const IMAGES: usize = 9;

fn open(weights: &Path) -> Opened<Search, Flex> {
    Opened::open(weights, &FlexDevice).unwrap()
}

fn build(place: &Place, weights: &Path, store: &SharedImages) -> std::path::PathBuf {
    let out = place.path("made/pictures.index");
    build_index(&open(weights), store, &out, 4, &|_, _| {}).unwrap();
    out
}

fn seen(images: &SharedImages, key: &str) -> Seen {
    Seen::from(look_up(images, key).unwrap())
}

#[test]
fn what_is_found_is_what_all_products_say() {
    let place = Place::new(IMAGES);
    let weights = place.weights("weights", 1);
    let images = place.images("regions");
    let index = build(&place, &weights, &images);
    let searcher = Searcher::open::<Flex>(&index, &weights, &FlexDevice).unwrap();
    assert_eq!(
        (searcher.index().len(), searcher.index().width()),
        (IMAGES, WIDTH)
    );
    searcher.check_store(&images).unwrap();

    let texts = ["a red dog".to_string(), "two cat on grass".to_string()];
    let found = searcher.search_texts(&texts, 4).unwrap();
    // The same by one picture at a time, in 32 bits.
    let embedder = searcher.embedder();
    let queries = embedder.embed_texts(&texts).unwrap();
    for (query, found) in queries.rows().zip(&found) {
        let mut expected: Vec<(String, f32)> = (1..=IMAGES)
            .map(|image| {
                let key = image.to_string();
                let one = embedder.embed_pictures(&[seen(&images, &key)]).unwrap();
                let product = one.row(0).iter().zip(query).map(|(a, b)| a * b).sum();
                (key, product)
            })
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(found.len(), 4);
        for (found, (_, product)) in found.iter().zip(&expected) {
            // Stored in 16 bits.
            assert!((found.similarity - product).abs() < 2e-3, "{found:?}");
            assert_eq!(searcher.index().key(found.row), found.key);
        }
    }
    // A picture finds itself.
    let query = embedder.embed_pictures(&[seen(&images, "3")]).unwrap();
    let own = &searcher.search(&query, 1).unwrap()[0][0];
    assert!(own.similarity > 0.995, "{own:?}");
}

#[test]
fn an_index_belongs_to_the_weights_and_the_store_it_was_made_of() {
    let place = Place::new(IMAGES);
    let (weights, others) = (place.weights("weights", 1), place.weights("others", 2));
    let images = place.images("regions");
    let index = build(&place, &weights, &images);
    let refused = Searcher::open::<Flex>(&index, &others, &FlexDevice).err();
    assert!(
        matches!(refused, Some(IndexError::OtherCheckpoint { .. })),
        "{refused:?}"
    );
    // The same weights elsewhere are the same.
    let copy = place.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(&weights).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let searcher = Searcher::open::<Flex>(&index, &copy, &FlexDevice).unwrap();
    place.store("fewer", IMAGES - 1);
    let refused = searcher.check_store(&place.images("fewer")).unwrap_err();
    assert!(
        matches!(refused, IndexError::OtherStore { .. }),
        "{refused}"
    );
}

#[test]
fn weights_of_another_task_and_wrong_queries_are_refused() {
    let place = Place::new(IMAGES);
    let weights = place.weights("weights", 1);
    let index = build(&place, &weights, &place.images("regions"));
    let searcher = Searcher::open::<Flex>(&index, &weights, &FlexDevice).unwrap();
    let nan = Vectors::new(WIDTH, vec![f32::NAN; WIDTH]).unwrap();
    assert!(matches!(
        searcher.search(&nan, 1),
        Err(IndexError::NotFinite { query: 0 })
    ));
    let narrow = Vectors::new(WIDTH - 1, vec![0.5; WIDTH - 1]).unwrap();
    assert!(matches!(
        searcher.search(&narrow, 1),
        Err(IndexError::Width { .. })
    ));
    let blank = searcher.search_texts(&[" ".into()], 1);
    assert!(matches!(blank, Err(IndexError::Task(TaskError::Input(_)))));
    assert!(Vectors::new(5, vec![0.0; 7]).is_err());

    // As weights of matching say what they are.
    let path = weights.join("task.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"search\"", "\"matching\"")).unwrap();
    let Err(refused) = open_embedder::<Flex>(&weights, &FlexDevice) else {
        panic!("they were opened");
    };
    assert!(refused.to_string().contains("matching"), "{refused}");
}

#[test]
fn recalls_are_those_of_the_whole_matrix() {
    let place = Place::new(IMAGES);
    let opened = open(&place.weights("weights", 1));
    let task = Search::default();
    let data = task
        .open(&place.split(IMAGES), Role::Evaluate, &encoder())
        .unwrap();
    let options = EvaluateOptions {
        batch_size: 4,
        progress: &|_, _| {},
        cache: None,
    };
    let evaluation = Search::score(&opened, &data, &options).unwrap();
    // Every product by itself.
    let (texts, images) = embed_apart(&opened, &data);
    let mut scores = Vec::new();
    for image in images.rows() {
        let product = |text: &[f32]| text.iter().zip(image).map(|(a, b)| a * b).sum::<f32>();
        scores.extend(texts.rows().map(product));
    }
    let owners: Vec<usize> = (0..2 * IMAGES).map(|caption| caption / 2).collect();
    let i2t = image_ranks(&scores, owners.len(), |image, column| {
        owners[column] == image
    });
    let t2i = caption_ranks(&scores, &owners);
    for (name, expected) in [
        ("i2t_R@1", recall(&i2t, 1)),
        ("i2t_R@5", recall(&i2t, 5)),
        ("t2i_R@1", recall(&t2i, 1)),
        ("t2i_R@10", recall(&t2i, 10)),
    ] {
        let found = evaluation.scores.iter().find(|(found, _)| found == name);
        assert_eq!(found.map(|(_, value)| *value), Some(expected), "{name}");
    }
    assert_eq!(evaluation.examples, 3 * IMAGES);
}

/// Vectors of the texts and the images of a split, each embedded in a batch of its own.
fn embed_apart(opened: &Opened<Search, Flex>, data: &SearchData) -> (Vectors, Vectors) {
    let one = |side, row| opened.embed(side, vec![row], 1).unwrap().values().to_vec();
    let texts = data.used().iter();
    let texts = texts.flat_map(|text| one(Side::Text, data.text(*text as usize).unwrap()));
    let images = 0..data.split().images.len();
    let images = images.flat_map(|image| one(Side::Image, data.stored_image(image).unwrap()));
    (
        Vectors::new(WIDTH, texts.collect()).unwrap(),
        Vectors::new(WIDTH, images.collect()).unwrap(),
    )
}

#[test]
fn a_text_and_a_picture_are_compared_and_each_side_is_shown() {
    let place = Place::new(IMAGES);
    let opened = open(&place.weights("weights", 1));
    let images = place.images("regions");
    let ask = Ask {
        text: Some("a red dog".into()),
        images: vec![seen(&images, "2")],
        top: 1,
    };
    let answers = Search::ask(&opened, std::slice::from_ref(&ask)).unwrap();
    let explained = Search::explain(&opened, &ask).unwrap();
    let score = answers[0][0].score;
    assert!(score.abs() <= 1.0 + 1e-5);
    assert!((explained.answers[0].score - score).abs() < 1e-5);
    let [text, image] = &explained.sequences[..] else {
        panic!("{} sequences", explained.sequences.len());
    };
    assert_eq!((text.tokens.len(), text.regions.len()), (5, 0));
    let regions = RegionHandle::new(images.clone(), 1).unwrap().len();
    assert_eq!(image.regions.len(), regions.min(3));

    let wrong = |images: Vec<Seen>, text: Option<&str>| {
        let ask = Ask {
            text: text.map(String::from),
            images,
            top: 1,
        };
        Search::ask(&opened, &[ask]).is_err()
    };
    assert!(wrong(vec![seen(&images, "2")], None));
    assert!(wrong(Vec::new(), Some("a dog")));
}
