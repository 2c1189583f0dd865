//! Images of one coloured shape each.

use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag};

use super::{Workplace, write};

const COLOURS: [&str; 4] = ["red", "green", "blue", "white"];
const SHAPES: [&str; 4] = ["circle", "square", "star", "moon"];
const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nthe\nis\nred\ngreen\nblue\nwhite\ncircle\n\
                     square\nstar\nmoon\nthing\n";

/// An image of the store.
pub struct Image {
    pub key: String,
    pub colour: &'static str,
    pub shape: &'static str,
}

/// A workplace with a region store `regions`, a `vocab.txt` and `recipe` as `recipe.toml`, and its
/// images.
pub fn workplace(images: usize, recipe: &str) -> (Workplace, Vec<Image>) {
    let place = Workplace::new();
    let options = StoreOptions::new(COLOURS.len() + SHAPES.len());
    let mut store = StoreWriter::create(&place.path("regions"), options).expect("a store");
    let image = |number: usize| {
        let (colour, shape) = (number % 4, number / 4 % 4);
        let mut features = [0.0; COLOURS.len() + SHAPES.len()];
        features[colour] = 1.0;
        features[COLOURS.len() + shape] = 1.0;
        let key = format!("image-{number}");
        let tag = Tag {
            class: "thing".into(),
            score: 0.5,
            box_px: None,
            attributes: vec![],
        };
        let image = ImageRegions {
            key: &key,
            width: 100,
            height: 100,
            features: &features,
            boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 50.0]]),
            tags: &[tag],
        };
        store.push(image).expect("an image");
        Image {
            key,
            colour: COLOURS[colour],
            shape: SHAPES[shape],
        }
    };
    let images = (0..images).map(image).collect();
    store.finish().expect("a store");
    write(&place.path("vocab.txt"), VOCAB);
    write(&place.path("recipe.toml"), recipe);
    (place, images)
}
