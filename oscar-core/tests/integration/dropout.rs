//! Dropout follows the backend's seed. Alone in its file: the seed is one per process.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::{Tensor, backend::Backend};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionMask, OscarInput};
use oscar_core::model::{Backbone, initialize};

fn input<B: Backend<Device = FlexDevice>>() -> OscarInput<B> {
    OscarInput {
        input_ids: Tensor::from_ints([[2, 7, 9, 3], [2, 8, 3, 0]], &FlexDevice),
        token_type_ids: Tensor::zeros([2, 4], &FlexDevice),
        position_ids: None,
        attention_mask: AttentionMask::Padding(Tensor::ones([2, 6], &FlexDevice)),
        region_features: Some(Tensor::ones([2, 2, 10], &FlexDevice)),
        query_positions: None,
        packing: None,
    }
}

#[test]
fn the_same_seed_drops_the_same() {
    type B = Autodiff<Flex>;
    let config = ModelConfig {
        vocab_size: 12,
        img_feature_dim: 10,
        ..ModelConfig::tiny()
    };
    let model = Backbone::<B>::new(&config, &FlexDevice);
    initialize(&model, &FlexDevice, 1);
    let run = |seed| -> Vec<f32> {
        oscar_core::ops::seed::<B>(&FlexDevice, seed);
        model
            .forward(input())
            .sequence
            .into_data()
            .iter::<f32>()
            .collect()
    };
    let first = run(3);
    assert!(first != run(4), "another seed drops others");
    assert!(first == run(3), "the same seed drops the same");

    let validated = model.valid();
    let evaluate = || -> Vec<f32> {
        validated
            .forward(input())
            .sequence
            .into_data()
            .iter::<f32>()
            .collect()
    };
    assert!(evaluate() == evaluate(), "nothing is dropped in evaluation");
}
