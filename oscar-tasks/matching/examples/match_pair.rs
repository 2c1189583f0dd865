//! How likely texts belong to an image, by the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task matching
//! cargo run --release --example match_pair -- \
//!     runs/matching-scenes/best runs/.scenes/near/regions near-000551 \
//!     "a boot and a snake" "a truck above a fox"
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use burn::tensor::activation::softmax;
use burn_flex::{Flex, FlexDevice};
use oscar_datasets::{look_up, open_images};
use oscar_matching::Matching;
use oscar_task::Opened;

/// Prints the probability of a match for each text.
pub fn run(args: &[String], out: &mut dyn Write) -> Result<(), Box<dyn Error + Send + Sync>> {
    let [checkpoint, store, key, texts @ ..] = args else {
        return Err("usage: match_pair CHECKPOINT REGION_STORE IMAGE TEXT...".into());
    };
    // The weights are read once, however many texts there are.
    let model = Opened::<Matching, Flex>::open(Path::new(checkpoint), &FlexDevice)?;
    let (tags, regions) = look_up(&open_images(Path::new(store))?, key)?;
    for text in texts {
        // What `Predictor::ask` does, step by step: words and regions, tensors, logits `[1, 2]` of
        // the two classes, probabilities.
        let image = std::slice::from_ref(&regions);
        let pair = model
            .encoder()
            .encode("the text".into(), text, &tags, image)?;
        let input = model.encoder().batch(&[pair], &FlexDevice)?;
        let logits = model.model.network.forward(input)?;
        let matched: f32 = softmax(logits, 1).narrow(1, 1, 1).into_scalar();
        writeln!(out, "{matched:.4}  {text}")?;
    }
    Ok(())
}

#[allow(dead_code, reason = "the test of this example calls `run`")]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    run(&args, &mut stdout())
}
