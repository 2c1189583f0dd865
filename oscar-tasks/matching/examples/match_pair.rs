//! How likely texts belong to an image, by the weights of a run: the model itself, step by step.
//!
//! ```text
//! oscar-bin finetune --task matching
//! cargo run --release --example match_pair -- \
//!     runs/matching-mini/best runs/.sample/dev/regions dev-1572-0.b0 \
//!     "two blue triangles and one yellow circle" "three black squares"
//! ```

use std::error::Error;
use std::io::Write;
use std::path::Path;

use burn::tensor::activation::softmax;
use burn_flex::{Flex, FlexDevice};
use oscar_core::input::RegionHandle;
use oscar_datasets::open_images;
use oscar_matching::Matching;
use oscar_train::finetune::{FinetuneModel, open_checkpoint};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, store, key, texts @ ..] = &args[..] else {
        return Err("usage: match_pair CHECKPOINT REGION_STORE IMAGE TEXT...".into());
    };
    let checkpoint = open_checkpoint::<Matching>(Path::new(checkpoint))?;
    let one_text = FinetuneModel::<Flex>::new(&checkpoint.model, false, &FlexDevice);
    let model = checkpoint.load(one_text)?;

    // The names of the objects in the image, and the features of its regions.
    let images = open_images(Path::new(store))?;
    let row = images
        .find(key)
        .ok_or_else(|| format!("{store} has no image {key}"))?;
    let tags = images.tag_text(row)?;
    let regions = [RegionHandle::new(images, row)?];

    let mut out = std::io::stdout();
    for text in texts {
        let encoder = &checkpoint.encoder;
        let sequence = encoder.encode("the text".into(), text, &tags, &regions)?;
        let input = encoder.batch(&[sequence], &FlexDevice)?;
        // [1, 2]: that they do not belong together, that they do.
        let [_, probability] = softmax(model.model().forward(input), 1)
            .into_data()
            .to_vec::<f32>()
            .map_err(|error| format!("{error:?}"))?[..]
        else {
            return Err("the head has not two classes".into());
        };
        writeln!(out, "{probability:.4}  {text}")?;
    }
    Ok(())
}
