//! How a recipe is divided among workers.

use oscar_core::config::{ConfigError, require};

use crate::settings::{ClipAt, OptimizerConfig, TrainConfig};

/// Divides each step among `world` workers: raises `train.accumulation` to the next multiple of
/// `world` that divides the batch. With one worker the recipe stays as it is.
///
/// A recipe without accumulation that clips after every batch clips once per step; its `clip_at`
/// becomes `step`, since the batch is now computed as several micro-batches.
///
/// # Errors
///
/// If no multiple divides the batch, or if gradients are clipped between the micro-batches of a step,
/// which workers compute at the same time.
pub fn divide_among_workers(
    world: usize,
    train: &mut TrainConfig,
    optimizer: &mut OptimizerConfig,
) -> Result<(), ConfigError> {
    if world <= 1 {
        return Ok(());
    }
    if optimizer.clip_at == ClipAt::Batch && optimizer.max_grad_norm > 0.0 {
        require(
            train.accumulation == 1,
            "optimizer.clip_at",
            "batch",
            &format!(
                "must be step where several devices compute the train.accumulation = {} \
                 micro-batches of a step at the same time",
                train.accumulation
            ),
        )?;
        optimizer.clip_at = ClipAt::Step;
    }
    let multiples = (train.accumulation.div_ceil(world) * world..=train.batch_size).step_by(world);
    let accumulation = multiples
        .into_iter()
        .find(|count| train.batch_size.is_multiple_of(*count));
    require(
        accumulation.is_some(),
        "train.batch_size",
        train.batch_size,
        &format!(
            "must have a divisor that is a multiple of the {world} devices or processes that train \
             and at least train.accumulation = {}",
            train.accumulation
        ),
    )?;
    train.accumulation = accumulation.unwrap_or(train.accumulation);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(
        world: usize,
        batch_size: usize,
        accumulation: usize,
        clip_at: ClipAt,
    ) -> Result<(usize, ClipAt), String> {
        let mut train = TrainConfig {
            batch_size,
            accumulation,
            ..TrainConfig::default()
        };
        let mut optimizer = OptimizerConfig {
            clip_at,
            max_grad_norm: 1.0,
            ..OptimizerConfig::default()
        };
        divide_among_workers(world, &mut train, &mut optimizer)
            .map(|()| (train.accumulation, optimizer.clip_at))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn accumulation_becomes_a_multiple_that_divides_the_batch() {
        assert_eq!(shared(1, 7, 7, ClipAt::Batch), Ok((7, ClipAt::Batch)));
        assert_eq!(shared(2, 8, 1, ClipAt::Step), Ok((2, ClipAt::Step)));
        assert_eq!(shared(2, 8, 1, ClipAt::Batch), Ok((2, ClipAt::Step)));
        assert_eq!(shared(2, 12, 3, ClipAt::Step), Ok((4, ClipAt::Step)));
        assert_eq!(shared(4, 12, 5, ClipAt::Step), Ok((12, ClipAt::Step)));
        assert_eq!(shared(4, 8, 8, ClipAt::Step), Ok((8, ClipAt::Step)));
    }

    #[test]
    fn what_cannot_be_shared_is_refused() {
        let error = shared(3, 8, 1, ClipAt::Step).expect_err("8 is no multiple of 3");
        assert!(
            error.contains("train.batch_size") && error.contains("3 devices"),
            "{error}"
        );
        let error = shared(2, 8, 2, ClipAt::Batch).expect_err("clips between parts");
        assert!(error.contains("optimizer.clip_at"), "{error}");
    }
}
