//! Answers a question about an image, with the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task vqa
//! cargo run --release --example ask -- \
//!     runs/vqa-mini/best runs/.sample/dev/regions dev-1572-0.b0 "is there a yellow circle?"
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_datasets::{look_up, open_images};
use oscar_task::{AnyTask, Question, open_checkpoint};
use oscar_vqa::Vqa;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, store, key, question] = &args[..] else {
        return Err("usage: ask CHECKPOINT REGION_STORE IMAGE QUESTION".into());
    };
    let checkpoint = open_checkpoint::<Vqa>(Path::new(checkpoint))?;
    // The names of the objects in the image, and the features of its regions.
    let image = look_up(&open_images(Path::new(store))?, key)?;
    let question = Question {
        text: Some(question.clone()),
        images: vec![image],
        top: 3,
        ..Question::default()
    };
    for (answer, probability) in Vqa::answer::<Flex>(&checkpoint, &question, &FlexDevice)? {
        writeln!(stdout(), "{probability:.4}  {answer}")?;
    }
    Ok(())
}
