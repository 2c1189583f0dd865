//! The parity suite notices mistakes: each deviation from the official code fails some check.

use std::path::PathBuf;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::Activation;
use oscar_tests::{Fault, Outcome, Set, run_set};
use rstest::rstest;

#[rstest]
#[case::text_epsilon("bert_img_ln", Fault::LayerNormEpsilon(1e-5))]
#[case::text_epsilon("pretrain_noln_3way", Fault::LayerNormEpsilon(1e-5))]
#[case::text_epsilon("seqcls_bce_linear", Fault::LayerNormEpsilon(1e-5))]
#[case::region_epsilon("bert_img_ln", Fault::RegionLayerNormEpsilon(1e-12))]
#[case::region_epsilon("pretrain_ln", Fault::RegionLayerNormEpsilon(1e-12))]
#[case::activation("bert_img_ln", Fault::Activation(Activation::Relu))]
#[case::activation("pretrain_ln", Fault::Activation(Activation::Swish))]
#[case::dropout("pretrain_ln", Fault::Dropout)]
#[case::dropout("nlvr2_ce_mlp_ln", Fault::Dropout)]
#[case::segments("bert_img_ln", Fault::SwappedSegments)]
#[case::segments("nlvr2_ce_linear", Fault::SwappedSegments)]
#[case::segments("oscar_mc_bxe", Fault::SwappedSegments)]
#[case::mask("pretrain_ln", Fault::NoMask)]
#[case::mask("seqcls_ce_ln", Fault::NoMask)]
#[case::other_adamw("optim_pretrain", Fault::BurnAdamW)]
#[case::other_adamw("optim_finetune", Fault::BurnAdamW)]
#[case::decay("optim_pretrain", Fault::NoDecay)]
#[case::decay("optim_finetune", Fault::NoDecay)]
#[case::optimizer_epsilon("optim_finetune", Fault::OptimizerEpsilon(3.2e-7))]
#[case::bias_correction("optim_pretrain", Fault::OtherBiasCorrection)]
#[case::bias_correction("optim_finetune", Fault::OtherBiasCorrection)]
#[case::schedule("optim_pretrain", Fault::OtherScheduleOrder)]
#[case::schedule("optim_finetune", Fault::OtherScheduleOrder)]
#[case::clipping("optim_finetune", Fault::OtherClipping)]
#[case::clipping("optim_finetune", Fault::NoClipping)]
#[case::accumulation("optim_finetune", Fault::NoLossScaling)]
#[case::segments("caption_tied_od", Fault::SwappedSegments)]
#[case::mask("caption_untied", Fault::NoMask)]
#[case::decay("optim_caption", Fault::NoDecay)]
#[case::schedule("optim_caption", Fault::OtherScheduleOrder)]
fn a_deviation_is_noticed(#[case] set: &str, #[case] fault: Fault) {
    let set = fixture(set);
    let Outcome::Compared(sound) = run_set::<Autodiff<Flex>>(&set, None, &FlexDevice) else {
        panic!("{}: cannot be compared", set.name);
    };
    assert!(
        sound.failures().is_empty(),
        "{}: fails without a fault",
        set.name
    );
    let Outcome::Compared(report) = run_set::<Autodiff<Flex>>(&set, Some(fault), &FlexDevice)
    else {
        panic!("{}: cannot be compared with {fault:?}", set.name);
    };
    assert!(
        !report.failures().is_empty(),
        "{}: {fault:?} passes",
        set.name
    );
}

fn fixture(name: &str) -> Set {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    Set::open(&dir).unwrap_or_else(|error| panic!("{error}"))
}
