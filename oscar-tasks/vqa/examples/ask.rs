//! Answers questions about an image, with the weights of a run.
//!
//! ```text
//! oscar-bin finetune --task vqa
//! cargo run --release --example ask -- \
//!     runs/vqa-scenes/best runs/.scenes/near/regions near-000518 \
//!     "is there a fox?" "what is above the fox?"
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_datasets::{look_up, open_images};
use oscar_task::{Answer, Ask, Opened, Predictor};
use oscar_vqa::Vqa;

/// Prints the three best answers to each question.
pub fn run(args: &[String], out: &mut dyn Write) -> Result<(), Box<dyn Error + Send + Sync>> {
    let [checkpoint, store, key, questions @ ..] = args else {
        return Err("usage: ask CHECKPOINT REGION_STORE IMAGE QUESTION...".into());
    };
    // The weights are read once, however many questions there are.
    let model = Opened::<Vqa, Flex>::open(Path::new(checkpoint), &FlexDevice)?;
    // The names of the objects in the image, and the features of its regions.
    let image = look_up(&open_images(Path::new(store))?, key)?;
    let ask = |question: &String| Ask {
        text: Some(question.clone()),
        images: vec![image.clone().into()],
        top: 3,
    };
    let asks: Vec<Ask> = questions.iter().map(ask).collect();
    for (question, answers) in questions.iter().zip(model.ask(&asks)?) {
        writeln!(out, "{question}")?;
        for Answer { text, score, .. } in answers {
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
