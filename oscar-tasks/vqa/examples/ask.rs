//! Answers a question about an image, with the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task vqa
//! cargo run --release --example ask -- \
//!     runs/vqa-mini/best runs/.sample/dev/regions dev-1572-0.b0 "is there a yellow circle?"
//! ```

use std::error::Error;
use std::io::Write;
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_core::input::RegionHandle;
use oscar_datasets::open_images;
use oscar_train::finetune::{AnyTask, Question, open_checkpoint};
use oscar_vqa::Vqa;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, store, key, question] = &args[..] else {
        return Err("usage: ask CHECKPOINT REGION_STORE IMAGE QUESTION".into());
    };
    let checkpoint = open_checkpoint::<Vqa>(Path::new(checkpoint))?;

    // The names of the objects in the image, and the features of its regions.
    let images = open_images(Path::new(store))?;
    let row = images
        .find(key)
        .ok_or_else(|| format!("{store} has no image {key}"))?;
    let image = (images.tag_text(row)?, RegionHandle::new(images, row)?);

    let question = Question {
        text: Some(question.clone()),
        images: vec![image],
        top: 3,
        ..Question::default()
    };
    let mut out = std::io::stdout();
    for (answer, probability) in Vqa::answer::<Flex>(&checkpoint, &question, &FlexDevice)? {
        writeln!(out, "{probability:.4}  {answer}")?;
    }
    Ok(())
}
