//! Writes captions of an image, with the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task captioning
//! cargo run --release --example caption -- \
//!     runs/captioning-mini/best runs/.sample/dev/regions dev-1572-0.b0
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_captioning::Captioning;
use oscar_datasets::{look_up, open_images};
use oscar_task::{AnyTask, Question, open_checkpoint};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, store, key] = &args[..] else {
        return Err("usage: caption CHECKPOINT REGION_STORE IMAGE".into());
    };
    let checkpoint = open_checkpoint::<Captioning>(Path::new(checkpoint))?;
    // The names of the objects in the image, and the features of its regions.
    let image = look_up(&open_images(Path::new(store))?, key)?;
    // No text: captions are searched for as the run's `[task.generation]` says.
    let question = Question {
        images: vec![image],
        top: 3,
        ..Question::default()
    };
    for (caption, probability) in Captioning::answer::<Flex>(&checkpoint, &question, &FlexDevice)? {
        writeln!(stdout(), "{probability:.4}  {caption}")?;
    }
    Ok(())
}
