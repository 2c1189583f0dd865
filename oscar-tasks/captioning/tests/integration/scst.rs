//! Training by reward: gradients flow through what was drawn, and it works.

use crate::common;

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::optim::{GradientsParams, Optimizer, SgdConfig};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use common::{Place, config, sequences, special, task, tokenizer};
use oscar_caption_metrics::{DocumentFrequencies, scst_text};
use oscar_captioning::scst::{self, Baseline, Reward, ScstSection};
use oscar_captioning::{Batch, CaptionData, CaptionSource, Captioning, Content, ImageBatch};
use oscar_core::config::ModelConfig;
use oscar_core::model::{OscarForCaptioning, initialize};
use oscar_task::{Role, Task};
use oscar_train::{BatchSource, ExampleRef};
use rstest::rstest;

type Trained = Autodiff<Flex>;

fn data(place: &Place, section: &ScstSection) -> Arc<CaptionData> {
    let task = Captioning {
        scst: section.clone(),
        ..task()
    };
    let split = place.split(&place.rows(6));
    Arc::new(task.open(&split, Role::Train, &sequences()).unwrap())
}

fn reward(data: &CaptionData) -> Reward {
    let references: Vec<Vec<String>> = data
        .images()
        .iter()
        .map(|image| image.captions.iter().map(|c| scst_text(&c.text)).collect())
        .collect();
    Reward::with(DocumentFrequencies::of(&references), &references)
}

fn batch(data: &Arc<CaptionData>, reward: &Arc<Reward>, epoch: u64) -> ImageBatch<Trained> {
    let source = CaptionSource::new(data.clone(), 10, 3, Some(reward.clone()));
    let picks: Vec<ExampleRef> = (0..6).map(|index| ExampleRef { epoch, index }).collect();
    let batch: Batch<Trained> = source.batch(&picks, &FlexDevice).unwrap();
    match batch.content {
        Content::Images(images, _) => images,
        Content::Captions(_) => panic!("captions to learn, where captions are rewarded"),
    }
}

#[rstest]
#[case::greedy(Baseline::Greedy)]
#[case::others(Baseline::Sample)]
fn what_is_worth_more_becomes_likelier(#[case] baseline: Baseline) {
    let place = Place::new(6);
    let section = ScstSection {
        enabled: true,
        baseline,
        ..ScstSection::default()
    };
    let data = data(&place, &section);
    assert!(data.by_image());
    let reward = Arc::new(reward(&data));
    let device = FlexDevice;
    let config = ModelConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        initializer_range: 0.1,
        ..config()
    };
    let mut model = OscarForCaptioning::<Trained>::new(&config, &device);
    initialize(&model, &device, 1);
    let mut optimizer = SgdConfig::new().init::<Trained, OscarForCaptioning<Trained>>();
    let mut rewards = Vec::new();
    for step in 0..40 {
        let images = batch(&data, &reward, step);
        let inner = model.valid();
        let tokenizer = tokenizer();
        let found = scst::step(
            (&model, &inner),
            &images,
            &section,
            10,
            (&reward, special()),
            |ids| tokenizer.decode(ids),
        );
        assert_eq!(found.rewards.len(), 6 * section.samples);
        rewards.push(found.rewards.iter().sum::<f64>() / found.rewards.len() as f64);
        let grads = GradientsParams::from_grads(found.loss.backward(), &model);
        model = optimizer.step(0.3, model, grads);
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&rewards[..5]), mean(&rewards[35..]));
    assert!(last > 1.5 * first, "from {first} to {last}");
}

#[test]
fn the_loss_is_the_mean_log_probability_times_the_advantage() {
    let device = FlexDevice;
    let log_probs =
        Tensor::<Trained, 1>::from_floats([-1.0, -2.0, -0.5, -0.25], &device).require_grad();
    let rewards = [1.0, 3.0, 2.0, 2.0];
    let baseline = scst::sample_baseline(&rewards, 2);
    assert_eq!(baseline, [3.0, 1.0, 2.0, 2.0]);
    assert_eq!(scst::greedy_baseline(&[0.5, 1.5], 2), [0.5, 0.5, 1.5, 1.5]);
    let loss = scst::loss(log_probs.clone(), &rewards, &baseline);
    // -(-1 * -2 + -2 * 2 + 0 + 0) / 4
    assert_eq!(loss.clone().into_scalar(), 0.5);
    let grads = log_probs.grad(&loss.backward()).unwrap();
    let grads: Vec<f32> = grads.into_data().iter::<f32>().collect();
    assert_eq!(grads, [0.5, -0.5, 0.0, 0.0]);
}
