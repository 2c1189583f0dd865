//! Writes captions of an image, with the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task captioning
//! cargo run --release --example caption -- \
//!     runs/captioning-mini/best runs/.sample/dev/regions dev-1572-0.b0
//! ```

use std::error::Error;
use std::io::Write;
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_captioning::Captioning;
use oscar_core::input::RegionHandle;
use oscar_datasets::open_images;
use oscar_train::finetune::{AnyTask, Question, open_checkpoint};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, store, key] = &args[..] else {
        return Err("usage: caption CHECKPOINT REGION_STORE IMAGE".into());
    };
    let checkpoint = open_checkpoint::<Captioning>(Path::new(checkpoint))?;

    // The names of the objects in the image, and the features of its regions.
    let images = open_images(Path::new(store))?;
    let row = images
        .find(key)
        .ok_or_else(|| format!("{store} has no image {key}"))?;
    let image = (images.tag_text(row)?, RegionHandle::new(images, row)?);

    // No text: captions are searched for as the run's `[task.generation]` says.
    let question = Question {
        images: vec![image],
        top: 3,
        ..Question::default()
    };
    let mut out = std::io::stdout();
    for (caption, probability) in Captioning::answer::<Flex>(&checkpoint, &question, &FlexDevice)? {
        writeln!(out, "{probability:.4}  {caption}")?;
    }
    Ok(())
}
