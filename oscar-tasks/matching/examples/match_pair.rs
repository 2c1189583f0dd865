//! How likely texts belong to an image, by the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task matching
//! cargo run --release --example match_pair -- \
//!     runs/matching-mini/best runs/.sample/dev/regions dev-1572-0.b0 \
//!     "two blue triangles and one yellow circle" "three black squares"
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use burn::tensor::activation::softmax;
use burn_flex::{Flex, FlexDevice};
use oscar_datasets::{look_up, open_images};
use oscar_matching::Matching;
use oscar_task::{FinetuneModel, open_checkpoint};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, store, key, texts @ ..] = &args[..] else {
        return Err("usage: match_pair CHECKPOINT REGION_STORE IMAGE TEXT...".into());
    };
    let checkpoint = open_checkpoint::<Matching>(Path::new(checkpoint))?;
    let model = FinetuneModel::<Flex>::new(&checkpoint.model, false, &FlexDevice);
    let model = checkpoint.load(model)?;
    let (tags, regions) = look_up(&open_images(Path::new(store))?, key)?;
    for text in texts {
        // The model itself, step by step: words and regions, tensors, logits `[1, 2]` of the two classes.
        let encoder = &checkpoint.encoder;
        let pair = encoder.encode(
            "the text".into(),
            text,
            &tags,
            std::slice::from_ref(&regions),
        )?;
        let logits = model
            .model()
            .forward(encoder.batch(&[pair], &FlexDevice)?)?;
        let matched: f32 = softmax(logits, 1).narrow(1, 1, 1).into_scalar();
        writeln!(stdout(), "{matched:.4}  {text}")?;
    }
    Ok(())
}
