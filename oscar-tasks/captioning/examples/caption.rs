//! Writes captions of images, with the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task captioning
//! cargo run --release --example caption -- \
//!     runs/captioning-scenes/best runs/.scenes/near/regions near-000518 near-000551
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_captioning::Captioning;
use oscar_datasets::{look_up, open_images};
use oscar_task::{Answer, Ask, Opened, Predictor};

/// Prints the three best captions of each image.
pub fn run(args: &[String], out: &mut dyn Write) -> Result<(), Box<dyn Error + Send + Sync>> {
    let [checkpoint, store, keys @ ..] = args else {
        return Err("usage: caption CHECKPOINT REGION_STORE IMAGE...".into());
    };
    // The weights are read once, however many images there are.
    let model = Opened::<Captioning, Flex>::open(Path::new(checkpoint), &FlexDevice)?;
    let images = open_images(Path::new(store))?;
    let mut asks = Vec::new();
    for key in keys {
        // No text: captions are searched for as the run's `[task.generation]` says.
        asks.push(Ask {
            images: vec![look_up(&images, key)?.into()],
            top: 3,
            ..Ask::default()
        });
    }
    for (key, captions) in keys.iter().zip(model.ask(&asks)?) {
        writeln!(out, "{key}")?;
        for Answer { text, score, .. } in captions {
            writeln!(out, "  {score:.4}  {text}")?;
        }
    }
    Ok(())
}

#[allow(dead_code, reason = "the test of this example calls `run`")]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    run(&args, &mut stdout())
}
