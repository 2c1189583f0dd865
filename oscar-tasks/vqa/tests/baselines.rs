//! The evaluator on real questions: figures that follow from the data alone, computed once by an
//! independent program.
//!
//! The data set is not ours to ship: `OSCAR_VQA=DIR` names a folder with
//! `vqa_{questions,annotations}_{train,valid}.json.gz`, the 48,061 and 8,977 questions of VQA v2
//! from <https://github.com/timbmg/NLP1-2017-VQA>.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_datasets::answers::AnswerVocabulary;
use oscar_datasets::questions::{Annotation, read_annotations};
use oscar_task::{ClassData, Logits, Role};
use oscar_vqa::{Split, Vqa, VqaData, leave_one_out};

#[test]
#[ignore = "needs 60,000 questions of VQA v2: OSCAR_VQA=DIR"]
fn baselines_of_real_questions() {
    let folder = std::env::var_os("OSCAR_VQA").expect("OSCAR_VQA names the folder");
    let place = Place(PathBuf::from(folder));
    let (train, valid) = (place.annotations("train"), place.annotations("valid"));

    let yes = valid.iter().map(|_| "yes".to_owned()).collect();
    let usual = most_common_by_type(&train);
    let by_type = valid
        .iter()
        .map(|row| usual[row.question_type.as_deref().unwrap_or_default()].clone());
    let own = valid
        .iter()
        .map(|row| row.most_agreed().unwrap_or_default().to_owned());
    let baselines: [(&str, Vec<String>, &str, &str); 3] = [
        ("always yes", yes, "20.85", "20.85"),
        (
            "most common of the question type",
            by_type.collect(),
            "32.91",
            "32.99",
        ),
        ("people's own most agreed", own.collect(), "96.58", "96.61"),
    ];
    for (name, answers, as_they_are, published) in baselines {
        let exact = valid
            .iter()
            .zip(&answers)
            .map(|(row, answer)| leave_one_out(&row.answers, answer));
        let exact = 100.0 * exact.sum::<f64>() / valid.len() as f64;
        assert_eq!(format!("{exact:.2}"), as_they_are, "{name}, as they are");
        assert_eq!(place.percent(&answers), published, "{name}, normalised");
    }
}

/// The answer that most questions of each type have; of equally frequent ones the first.
fn most_common_by_type(train: &[Annotation]) -> HashMap<String, String> {
    let mut counts: HashMap<(&str, &str), (usize, usize)> = HashMap::new();
    for (index, row) in train.iter().enumerate() {
        let key = (
            row.question_type.as_deref().unwrap_or_default(),
            row.most_agreed().unwrap_or_default(),
        );
        counts.entry(key).or_insert((0, train.len() - index)).0 += 1;
    }
    let mut best: HashMap<&str, ((usize, usize), &str)> = HashMap::new();
    for ((kind, answer), count) in counts {
        let entry = best.entry(kind).or_default();
        *entry = (*entry).max((count, answer));
    }
    let named = |(kind, (_, answer)): (&str, (_, &str))| (kind.to_owned(), answer.to_owned());
    best.into_iter().map(named).collect()
}

struct Place(PathBuf);

impl Place {
    fn file(&self, what: &str, split: &str) -> PathBuf {
        self.0.join(format!("vqa_{what}_{split}.json.gz"))
    }

    fn annotations(&self, split: &str) -> Vec<Annotation> {
        read_annotations(&self.file("annotations", split)).expect("annotations")
    }

    /// What the evaluator says to these answers to the validation questions.
    fn percent(&self, answers: &[String]) -> String {
        let mut choices: Vec<String> = answers.to_vec();
        choices.push("no".into());
        choices.sort();
        choices.dedup();
        let vocabulary =
            AnswerVocabulary::new(Path::new("answers"), choices).expect("different answers");
        let mut values = vec![0.0; answers.len() * vocabulary.len()];
        for (row, answer) in answers.iter().enumerate() {
            let label = vocabulary.label(answer).expect("one of the answers") as usize;
            values[row * vocabulary.len() + label] = 1.0;
        }
        let logits = Logits::new(vocabulary.len(), values);
        let split = Split {
            questions: Some(self.file("questions", "valid")),
            annotations: Some(self.file("annotations", "valid")),
            regions: None,
        };
        let data = VqaData::open(
            &split,
            Role::Evaluate,
            vocabulary,
            &Vqa::default(),
            encoder(),
        );
        let evaluation = data.expect("a split").evaluate(&logits).expect("scores");
        let (name, accuracy) = evaluation.scores.first().expect("a headline");
        assert_eq!(name, "vqa_accuracy");
        format!("{:.2}", accuracy * 100.0)
    }
}

fn encoder() -> SequenceEncoder {
    let tokenizer = Arc::new(Tokenizer::bert_base_uncased().expect("BERT's vocabulary"));
    SequenceEncoder::new(
        tokenizer,
        SequenceConfig::default(),
        PaddingConfig::default(),
    )
    .expect("the defaults")
}
